//! The figures as a picture: four panels of bars, one bar a strategy.

use std::path::Path;

use plotters::prelude::*;

use super::SCENARIO;
use crate::error::{Because, Result};
use crate::rows::{Row, figure};
use crate::summary::median;

const SIZE: (u32, u32) = (1_000, 720);
const COLOURS: [RGBColor; 5] = [
    RGBColor(214, 96, 77),
    RGBColor(244, 165, 130),
    RGBColor(146, 197, 222),
    RGBColor(67, 147, 195),
    RGBColor(33, 102, 172),
];

struct Panel {
    title: String,
    values: Vec<f64>,
}

/// Draws the medians.
pub fn draw(path: &Path, strategies: &[&'static str], stock: u32, rows: &[Row]) -> Result<()> {
    let of = |name: &'static str, figure, scale: f64| {
        median(rows, (SCENARIO, name, figure)).unwrap_or_default() * scale
    };
    let all = |figure, scale| strategies.iter().map(|name| of(name, figure, scale)).collect();
    let amiss = strategies
        .iter()
        .map(|name| of(name, figure::UNSOLD, 1.0) + of(name, figure::REFUNDED, 1.0));
    let panels = [
        Panel { title: "told yes, a second".into(), values: all(figure::GRANTED_PER_S, 1.0) },
        Panel { title: "p99 of a yes, ms".into(), values: all(figure::GRANTED_P99_US, 1e-3) },
        Panel { title: format!("units unsold or refunded, of {stock}"), values: amiss.collect() },
        Panel {
            title: "waits for the database's disk, a unit".into(),
            values: all(figure::WAL_SYNCS, 1.0),
        },
    ];
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = root.fill(&WHITE).because(|| "filling".into()).and_then(|()| {
        for (area, panel) in root.split_evenly((2, 2)).iter().zip(&panels) {
            bars(area, panel, strategies)?;
        }
        root.present().because(|| "writing".into())
    });
    drawn.because(|| format!("drawing {}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn bars(area: &Area, panel: &Panel, names: &[&'static str]) -> Result<()> {
    let most = panel.values.iter().copied().fold(1e-9, f64::max);
    let count = names.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(&panel.title, ("sans-serif", 18))
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..count, 0.0..most * 1.15)
        .because(|| "a panel".into())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(5)
        .draw()
        .because(|| "axes".into())?;
    let bar = |at: usize, value: f64| {
        let (left, right) = (at as f64 + 0.15, at as f64 + 0.85);
        Rectangle::new([(left, 0.0), (right, value)], COLOURS[at % COLOURS.len()].filled())
    };
    let drawn = chart.draw_series(panel.values.iter().enumerate().map(|(at, &v)| bar(at, v)));
    drawn.because(|| "bars".into())?;
    // Labels by hand: the value above its bar, the name below.
    let style = ("sans-serif", 12).into_font();
    for (at, (&value, name)) in panel.values.iter().zip(names).enumerate() {
        let digits = match value {
            0.0 => 0,
            value if value < 1.0 => 2,
            value => usize::from(value < 100.0),
        };
        let (x, y) = chart.backend_coord(&(at as f64 + 0.5, value));
        let (_, bottom) = chart.backend_coord(&(0.0, 0.0));
        let (base_x, base_y) = area.get_base_pixel();
        let texts = [(format!("{value:.digits$}"), y - 14), ((*name).to_owned(), bottom + 8)];
        for (text, y) in texts {
            let middle = 3 * text.chars().count() as i32;
            area.draw_text(&text, &style.clone().into(), (x - base_x - middle, y - base_y))
                .because(|| "a label".into())?;
        }
    }
    Ok(())
}
