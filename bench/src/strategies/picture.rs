//! The figures as a picture: four panels with one bar per strategy.

use std::fs;
use std::path::Path;

use crate::error::{Because, Result};
use crate::report::charts::{Bar, bars, bars_height};
use crate::report::{Spread, draw, spread};
use crate::rows::{Row, figure};

const WIDTH: u32 = 1_200;

/// A panel: its title, and one bar per measured strategy.
type Panel<'a> = (String, [(&'static str, Vec<Bar<'a>>); 1]);

/// Draws the medians and quartiles of a scenario.
pub fn draw(
    path: &Path,
    scenario: &str,
    strategies: &[&'static str],
    stock: u32,
    rows: &[Row],
) -> Result<()> {
    let of = |name: &str, figure: &str| spread::values(rows, (scenario, name, figure));
    let panel = |title: String, values: &dyn Fn(&str) -> Vec<f64>| -> Panel {
        let bar = |name: &&'static str| Some(Bar { name, spread: Spread::of(values(name))? });
        (title, [("", strategies.iter().filter_map(bar).collect())])
    };
    let all = |name: &str, figure, scale: f64| -> Vec<f64> {
        of(name, figure).into_iter().map(|(_, value)| value * scale).collect()
    };
    let amiss = |name: &str| -> Vec<f64> {
        let (unsold, refunded) = (of(name, figure::UNSOLD), of(name, figure::REFUNDED));
        unsold.iter().zip(&refunded).map(|((_, unsold), (_, refunded))| unsold + refunded).collect()
    };
    let panels = [
        panel("grants per second".into(), &|name| all(name, figure::GRANTED_PER_S, 1.0)),
        panel("p99 of a grant, ms".into(), &|name| all(name, figure::GRANTED_P99_US, 1e-3)),
        panel(format!("units unsold or refunded, of {stock}"), &amiss),
        panel("waits for the database's disk, per unit".into(), &|name| {
            all(name, figure::WAL_SYNCS, 1.0)
        }),
    ];
    let height = panels.iter().map(|(_, groups)| bars_height(groups)).max().unwrap_or_default();
    let drawn = draw::picture((WIDTH, 2 * height), |root| {
        let areas = root.split_evenly((2, 2));
        areas.iter().zip(&panels).try_for_each(|(area, (title, groups))| bars(area, title, groups))
    });
    let drawn = drawn.because(|| format!("drawing {}", path.display()))?;
    fs::write(path, drawn).because(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_every_strategy_can_be_drawn() {
        let names = ["order_first", "pay_first", "held_in_sql", "held_by_hand", "stampede"];
        let figures = [
            figure::GRANTED_PER_S,
            figure::GRANTED_P99_US,
            figure::UNSOLD,
            figure::REFUNDED,
            figure::WAL_SYNCS,
        ];
        let row = |round, server: &'static str, figure: &'static str| Row {
            round,
            scenario: "strategies".into(),
            server: server.into(),
            figure: figure.into(),
            value: f64::from(round) * 100.0,
        };
        let of_round = |round| {
            names.iter().flat_map(move |name| figures.map(|figure| row(round, name, figure)))
        };
        let rows: Vec<_> = (1..=4).flat_map(of_round).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("strategies.svg");
        draw(&path, "strategies", &names, 2_000, &rows).expect("drawn");
        let drawn = fs::read_to_string(&path).expect("a picture");
        assert!(names.iter().all(|name| drawn.matches(&format!("\n{name}\n")).count() == 4));
    }
}
