//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

/// Bytes of an IMF-fixdate.
pub const DATE_LEN: usize = 29;

/// `Sun, 06 Nov 1994 08:49:37 GMT` for a time given in seconds since 1970-01-01 UTC, leap seconds not
/// counted. Right up to the year 9999; what lies beyond is shown as that year's last second.
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_LEN] {
    const LAST: u64 = 253_402_300_799;
    let seconds = unix_seconds.min(LAST);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    // 1970-01-01 was a Thursday.
    let weekday = b"ThuFriSatSunMonTueWed".as_chunks::<3>().0;
    let months = b"JanFebMarAprMayJunJulAugSepOctNovDec".as_chunks::<3>().0;
    let mut date = *b"---, 00 --- 0000 00:00:00 GMT";
    put(&mut date, 0, weekday.get((days % 7) as usize));
    put(&mut date, 8, months.get(month as usize - 1));
    number(&mut date, 5, 2, day);
    number(&mut date, 12, 4, year);
    number(&mut date, 17, 2, of_day / 3_600);
    number(&mut date, 20, 2, of_day / 60 % 60);
    number(&mut date, 23, 2, of_day % 60);
    date
}

fn put(date: &mut [u8; DATE_LEN], at: usize, name: Option<&[u8; 3]>) {
    if let (Some(place), Some(name)) = (date.get_mut(at..at + 3), name) {
        place.copy_from_slice(name);
    }
}

fn number(date: &mut [u8; DATE_LEN], at: usize, digits: usize, mut value: u64) {
    for place in date.get_mut(at..at + digits).into_iter().flatten().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01 (Howard Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_rfc_and_odd_ones() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), text);
        }
    }
}
