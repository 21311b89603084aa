//! The JSON Schema of the rules, for editors.

use crate::rules::Rules;

/// The JSON Schema of [`Rules`] as indented text, with a line end: what `configs/schema.json` holds.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Rules);
    format!("{:#}\n", schema.as_value())
}
