//! Turns raw figures into `summary.md`, pictures, and the lines of the README.
//!
//! Reads only the rows, so a report can be written again from a run's `raw.csv` ([`again`]). Read in
//! this order: [`spread`] has the median of the rounds and the ratios within them; [`mod@promises`]
//! the verdicts; [`noise`] their reliability; [`tables`] every figure; [`comparison`] an old and a new
//! build; [`layout`] lists the pictures; [`charts`] draws them with [`draw`]; [`readme`] writes the
//! README's table.

use std::fs;
use std::path::Path;

pub mod spread;

pub mod promises;
pub mod noise;
pub mod tables;
pub mod comparison;

pub mod layout;
pub mod charts;
pub mod draw;

pub mod readme;
pub mod again;

pub use layout::{Chart, Layout};
pub use noise::ROUNDS_MIN;
pub use promises::{Limit, Promise, promises};
pub use spread::{Place, Spread, median};

use crate::error::{Because, Result};
use crate::rows::Row;

/// Writes `summary.md` and the pictures into a run's folder, and returns the verdicts. `heading`
/// describes the run and must have no second-level heading.
pub fn write(
    folder: &Path,
    heading: &str,
    promised: &[Promise],
    layout: &Layout,
    rows: &[Row],
) -> Result<String> {
    let promised = promises(promised, rows);
    let pictures = pictures(folder, layout, rows)?;
    let noise = noise::noise(rows);
    let parts = [&noise, &promised, &pictures, &tables::by_scenario(rows), &tables::figures(rows)];
    let mut text = heading.trim_end().to_owned();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        text.push_str("\n\n");
        text.push_str(part.trim_end());
    }
    text.push('\n');
    let path = folder.join("summary.md");
    fs::write(&path, text).because(|| format!("writing {}", path.display()))?;
    Ok(format!("{noise}\n{promised}"))
}

/// Draws the pictures that have figures, and returns their section of `summary.md`.
fn pictures(folder: &Path, layout: &Layout, rows: &[Row]) -> Result<String> {
    let mut out = String::new();
    for chart in &layout.charts {
        let drawn = charts::draw(chart, rows).because(|| format!("drawing {}", chart.name))?;
        let Some(picture) = drawn else { continue };
        let path = folder.join(format!("{}.svg", chart.name));
        fs::write(&path, picture).because(|| format!("writing {}", path.display()))?;
        out.push_str(&format!("![{}]({}.svg)\n\n", chart.title, chart.name));
    }
    if out.is_empty() {
        return Ok(out);
    }
    Ok(format!(
        "## Pictures\n\nBars show medians of the rounds. Whiskers reach from quartile to quartile.\n\n{out}"
    ))
}

#[cfg(test)]
mod tests;
