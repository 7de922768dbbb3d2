//! The rows of the report.

use serde_json::{Value, json};

/// The figures measured so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
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
    pub(crate) fn add(&mut self, row: &Row) {
        self.add_json(row.json());
    }

    /// Adds a figure that another program measured.
    pub(crate) fn add_json(&mut self, row: Value) {
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
        let text = serde_json::to_string_pretty(&self.rows).expect("rows are plain data");
        std::fs::write(path, text).expect("the report can be written");
    }
}

fn line(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| row[name].as_f64();
    let value = number("value").unwrap_or(f64::NAN);
    let mut line = format!("{:<56} {value:>12.1} {:<13}", text("name"), text("unit"));
    if let (Some(baseline), Some(ratio)) = (number("baseline"), number("ratio")) {
        line.push_str(&format!(" beside {baseline:>11.1}, ratio {ratio:.2}"));
    }
    if let Some(met) = row["met"].as_bool() {
        let met = if met { "met" } else { "MISSED" };
        line.push_str(&format!("  [{}: {met}]", text("target")));
    }
    line
}
