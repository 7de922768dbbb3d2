//! The rows of the report.

use serde_json::{Value, json};

/// The figures measured so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One figure.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The other side, in the same unit.
    pub(crate) baseline: Option<f64>,
    pub(crate) ratio: Option<f64>,
    /// The target as text, and whether it is met.
    pub(crate) target: Option<(String, bool)>,
}

impl Row {
    /// A figure that is only stated.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            ..Self::default()
        }
    }

    pub(crate) fn baseline(mut self, baseline: f64, ratio: f64) -> Self {
        self.baseline = Some(baseline);
        self.ratio = Some(ratio);
        self
    }

    pub(crate) fn target(mut self, target: impl Into<String>, met: bool) -> Self {
        self.target = Some((target.into(), met));
        self
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "target": self.target.as_ref().map(|(text, _)| text),
            "met": self.target.as_ref().map(|(_, met)| met),
        })
    }
}

impl Report {
    /// Adds a figure, and shows it at once: a run takes its time.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        println!();
        for row in &self.rows {
            println!("{}", line(row));
        }
    }

    pub(crate) fn write(&self, path: &str) {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let text = serde_json::to_string_pretty(&rows).expect("rows are plain data");
        std::fs::write(path, text).expect("the report can be written");
    }
}

fn line(row: &Row) -> String {
    let mut text = format!("{:<52} {:>14.1} {:<14}", row.name, row.value, row.unit);
    if let (Some(baseline), Some(ratio)) = (row.baseline, row.ratio) {
        text.push_str(&format!(" beside {baseline:>12.1}, ratio {ratio:.2}"));
    }
    if let Some((target, met)) = &row.target {
        let met = if *met { "met" } else { "MISSED" };
        text.push_str(&format!("  [{target}: {met}]"));
    }
    text
}
