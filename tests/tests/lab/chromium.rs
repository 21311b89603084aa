//! A browser that loads a page of many parts: connections in parallel, kept, reused and given up, with
//! caching and redirects, as nobody writes them by hand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{Shutdown, TcpListener};
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sluice_tests::http::Connection;
use sluice_tests::lab::{Lab, printed};

const IMAGES: usize = 24;
const SCRIPTS: usize = 20;
const SHEETS: usize = 16;

/// Bytes of the one large part.
const LARGE: usize = 8 << 20;

/// Pieces that the slow part comes in, and the pause before each.
const PIECES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Longest that the last part is kept back.
const HOLD: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"
node: { drain_timeout: 1s }
ports:
  front: { interface: sluice-front, addresses: [10.77.1.1/24] }
  back: { interface: sluice-back, addresses: [10.77.2.1/24] }
listeners:
  http: { address: "10.77.1.1:80" }
services:
  nginx: { endpoints: ["10.77.2.2:8080", "10.77.2.3:8080"] }
  own: { endpoints: ["10.77.2.5:8080"] }
routes:
  - { host: page.test, path: /own, service: own }
  - { host: page.test, service: nginx }
"#;

/// The last part of the page: its answer is kept back until the script says that all else is there,
/// so that the browser's `load` event, and with it the dump, waits for that.
#[derive(Default)]
struct Held {
    done: Mutex<bool>,
    told: Condvar,
}

#[test]
fn chromium_loads_a_page_of_many_parts_from_nginx() {
    let lab = Lab::up();
    if !lab.client(&["chromium", "--version"]).status.success() && on_ubuntu() {
        eprintln!("left out: Ubuntu has no package of Chromium");
        return;
    }
    write_parts(&lab);
    let gateway = lab.gateway(CONFIG);
    let listener = lab.listen("10.77.2.5:8080");
    let over = AtomicBool::new(false);
    let open = Mutex::new(Vec::new());
    let held = Held::default();
    let dump = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(connection) = accept_soon(&listener) {
                    let stream = connection.stream().try_clone();
                    open.lock()
                        .expect("no thread panics with it")
                        .extend(stream);
                    scope.spawn(|| serve(connection, &held));
                }
            }
        });
        let dump = browse(&lab);
        over.store(true, Ordering::Relaxed);
        for stream in open.lock().expect("no thread panics with it").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        dump
    });
    let report = dump
        .split("<pre id=\"report\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next());
    let report = report.unwrap_or_else(|| panic!("no report in {dump}"));
    let expected = format!(
        "images {IMAGES} scripts {SCRIPTS} sheets {SHEETS} large {LARGE} slow {} empty 204:0 \
         moved 200:1024:true again 200:1024",
        PIECES * 100
    );
    assert_eq!(report, expected);

    let metrics = gateway.metrics();
    let total = |name: &str| metrics.get(name).copied().unwrap_or_default();
    let status = |status| {
        total(&format!(
            r#"sluice_requests_total{{worker="0",status="{status}"}}"#
        ))
    };
    // The page, the large one, the slow one, the redirect's aim, the signal and what it holds back.
    let whole = (IMAGES + SCRIPTS + SHEETS + 6) as f64;
    assert_eq!([200, 204, 302, 304].map(status), [whole, 1.0, 1.0, 1.0]);
    let mut fates = BTreeMap::new();
    for (name, total) in &metrics {
        if name.starts_with("sluice_request_fates_total") && *total > 0.0 {
            fates.insert(name.as_str(), *total);
        }
    }
    let answered = r#"sluice_request_fates_total{worker="0",fate="answered"}"#;
    assert_eq!(fates, BTreeMap::from([(answered, whole + 3.0)]));
}

fn on_ubuntu() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=ubuntu")
}

/// Puts the page and its parts where nginx serves files.
fn write_parts(lab: &Lab) {
    let put = |name: &str, bytes: &[u8]| {
        fs::write(lab.directory().join("www").join(name), bytes).expect("cannot write a part");
    };
    let mut page = String::from(
        // Without a doctype, so that style sheets count which nginx calls text/plain.
        "<html><head><link rel=icon href=data:,><script>let scripts = 0;</script>",
    );
    for number in 1..=SHEETS {
        let _ = write!(page, "<link rel=stylesheet href=/{number}.css>");
        let padding = "x".repeat(number * 700);
        put(
            &format!("{number}.css"),
            format!("/*{padding}*/:root{{--sheet-{number}:{number}}}").as_bytes(),
        );
    }
    page += "</head><body><pre id=report></pre>";
    for number in 1..=IMAGES {
        let _ = write!(
            page,
            "<img class=part data-width={number} src=/{number}.bmp>"
        );
        put(&format!("{number}.bmp"), &bitmap(number, number * 8));
    }
    for number in 1..=SCRIPTS {
        let _ = write!(page, "<script src=/{number}.js></script>");
        let padding = "x".repeat(number * 3_001);
        put(
            &format!("{number}.js"),
            format!("scripts += 1; //{padding}").as_bytes(),
        );
    }
    let _ = write!(
        page,
        "<img src=/own/held.bmp><script>{}</script></body></html>",
        script()
    );
    put("page.html", page.as_bytes());
    put("large", &vec![7; LARGE]);
}

/// What the page does once its parts are there: loads the rest, and reports.
fn script() -> String {
    let script = r#"
async function size(url, options) {
    const reply = await fetch(url, options);
    const bytes = new Uint8Array(await reply.arrayBuffer());
    return [reply, bytes];
}
async function parts() {
    const images = [...document.querySelectorAll(".part")];
    await Promise.all(images.map(image => image.decode()));
    const right = images.filter(image => image.naturalWidth == image.dataset.width);
    const style = getComputedStyle(document.documentElement);
    let sheets = 0;
    for (let n = 1; n <= SHEETS; n++) sheets += style.getPropertyValue("--sheet-" + n) == n;
    const [large, slow, empty, moved] = await Promise.all([
        size("/large"), size("/own/slow"), size("/own/empty"), size("/own/moved")]);
    const again = await size("/1k", { cache: "no-cache" });
    const sevens = large[1].every(byte => byte == 7) ? large[1].length : "damaged";
    return `images ${right.length} scripts ${scripts} sheets ${sheets} large ${sevens} ` +
        `slow ${slow[1].length} empty ${empty[0].status}:${empty[1].length} ` +
        `moved ${moved[0].status}:${moved[1].length}:${moved[0].redirected} ` +
        `again ${again[0].status}:${again[1].length}`;
}
const report = text => { document.getElementById("report").textContent = text; };
parts().then(report, error => report("failed: " + error)).then(() => fetch("/own/done"));
"#;
    script.replace("SHEETS", &SHEETS.to_string())
}

/// An uncompressed picture.
fn bitmap(width: usize, height: usize) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let mut out = b"BM".to_vec();
    let words = [
        54 + row * height,
        0,
        54,
        40,
        width,
        height,
        1 | 24 << 16,
        0,
        row * height,
        0,
        0,
        0,
        0,
    ];
    for word in words {
        out.extend((word as u32).to_le_bytes());
    }
    out.resize(54 + row * height, 0x5a);
    out
}

/// Has the browser load the page, and returns the document as it is then.
fn browse(lab: &Lab) -> String {
    let profile = format!(
        "--user-data-dir={}",
        lab.directory().join("chromium").display()
    );
    let output = lab.client(&[
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP page.test 10.77.1.1",
        &profile,
        "--dump-dom",
        "http://page.test/page.html",
    ]);
    assert!(output.status.success(), "{}", printed(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A connection, if one comes soon.
fn accept_soon(listener: &TcpListener) -> std::io::Result<Connection> {
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(false)?;
            Ok(Connection::new(stream))
        }
        Err(error) => {
            thread::sleep(Duration::from_millis(5));
            Err(error)
        }
    }
}

/// Answers what is not a file, until the gateway ends the connection.
fn serve(mut connection: Connection, held: &Held) {
    while let Ok(head) = connection.read_head() {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if answer(&mut connection, &path, held).is_err() {
            return;
        }
    }
}

fn answer(connection: &mut Connection, path: &str, held: &Held) -> std::io::Result<()> {
    match path {
        "/own/slow" => {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for _ in 0..PIECES {
                thread::sleep(PAUSE);
                connection.send(format!("64\r\n{}\r\n", "s".repeat(100)))?;
            }
            connection.send("0\r\n\r\n")
        }
        "/own/empty" => connection.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/own/moved" => {
            connection.send("HTTP/1.1 302 Found\r\nLocation: /1k\r\nContent-Length: 0\r\n\r\n")
        }
        "/own/held.bmp" => {
            let done = held.done.lock().expect("no thread panics with it");
            let waited = held.told.wait_timeout_while(done, HOLD, |done| !*done);
            drop(waited.expect("no thread panics with it"));
            let picture = bitmap(1, 1);
            let length = picture.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: image/bmp\r\nContent-Length: {length}\r\n\r\n"
            ))?;
            connection.send(picture)
        }
        _ => {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            *held.done.lock().expect("no thread panics with it") = true;
            held.told.notify_all();
            Ok(())
        }
    }
}
