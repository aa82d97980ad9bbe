//! From raw figures to something worth looking at: `summary.md`, pictures, and a few lines of the
//! README.
//!
//! All of it works on the rows alone, so that a report can be made anew from a run's `raw.csv`
//! ([`again`]). Read in this order: [`spread`] has the median of the rounds and the ratios within
//! them; [`mod@promises`] the verdicts; [`noise`] how far they are to be trusted; [`tables`] every
//! figure, [`comparison`] an old and a new build; [`layout`] says which pictures there are, [`charts`] draws them with what [`draw`] has;
//! [`readme`] keeps the README's table.

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
pub use promises::{Limit, Promise, promises};
pub use spread::{Place, Spread, median};

use crate::error::{Because, Result};
use crate::rows::Row;

/// Writes `summary.md` and the pictures of what was measured into a run's folder, and returns what
/// matters most: the promises. `heading` says what was run on what; it must have no second-level
/// heading of its own.
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

/// Draws what can be drawn, and returns the section of `summary.md` that shows it.
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
        "## Pictures\n\nMedians of the rounds; whiskers reach from quartile to quartile.\n\n{out}"
    ))
}

#[cfg(test)]
mod tests;
