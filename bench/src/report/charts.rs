//! The pictures, drawn by pixels. Bars are horizontal, so long names have room.

use super::draw::{
    Area, Axis, FAINT, GRID, INK, Lettering, colour, dot, fill, line, picture, text,
};
use super::layout::{Chart, Group, Kind};
use super::spread::{Spread, median, servers, spread};
use super::tables::shown;
use crate::error::Result;
use crate::rows::{Row, figure};

const WIDTH: u32 = 860;
/// Names are left of the bars, values right of them.
const NAMES: i32 = 150;
const VALUES: i32 = 90;
const TITLE: i32 = 44;
const BAR: i32 = 26;
const HEAD: i32 = 30;
const FOOT: i32 = 34;
/// A linear scale would make the shortest bar invisible.
const LOG_FROM: f64 = 20.0;
const LINES_HEIGHT: u32 = 420;
/// More lines would be unreadable. The tables have all of them.
const LINES_MAX: usize = 16;

/// A bar: its server and its value.
pub struct Bar<'a> {
    /// The server.
    pub name: &'a str,
    /// Its value with the quartiles.
    pub spread: Spread,
}

/// A picture as SVG. `None`: no figure of it was measured.
pub fn draw(chart: &Chart, rows: &[Row]) -> Result<Option<String>> {
    match &chart.kind {
        Kind::Bars(groups) => draw_groups(chart.title, groups, rows),
        Kind::Percentiles { loads, servers } => percentiles(chart.title, loads, servers, rows),
        Kind::Lines { figure, along, points } => lines(chart.title, figure, along, points, rows),
    }
}

fn draw_groups(title: &str, groups: &[Group], rows: &[Row]) -> Result<Option<String>> {
    let measured = groups.iter().map(|group| {
        let mut bars = servers(rows, group.scenario, group.figure);
        if more_is_better(group.figure) {
            bars.reverse();
        }
        let bars = bars.into_iter().map(|(name, spread)| Bar { name, spread });
        (group.label, bars.collect::<Vec<_>>())
    });
    let measured: Vec<_> = measured.filter(|(_, bars)| !bars.is_empty()).collect();
    if measured.is_empty() {
        return Ok(None);
    }
    picture((WIDTH, bars_height(&measured)), |area| bars(area, title, &measured)).map(Some)
}

/// Whether more is better, as for throughput. Less is better for all other figures.
pub fn more_is_better(figure: &str) -> bool {
    figure.ends_with("_per_s")
}

/// Height of a picture of bars.
pub fn bars_height(groups: &[(&str, Vec<Bar>)]) -> u32 {
    let heights = groups
        .iter()
        .map(|(label, bars)| (if label.is_empty() { 0 } else { HEAD }) + BAR * bars.len() as i32);
    (TITLE + heights.sum::<i32>() + FOOT).unsigned_abs()
}

/// Groups of bars, with the title above and the scale below.
pub fn bars(area: &Area, title: &str, groups: &[(&str, Vec<Bar>)]) -> Result<()> {
    let all = || groups.iter().flat_map(|(_, bars)| bars.iter().map(|bar| &bar.spread));
    let most = all().map(|spread| spread.p75).fold(0.0, f64::max);
    let above_zero = all().map(|spread| spread.median).filter(|median| *median > 0.0);
    let least = above_zero.fold(f64::INFINITY, f64::min);
    let (width, height) = area.dim_in_pixel();
    let pixels = (NAMES, width as i32 - VALUES);
    let bottom = height as i32 - FOOT;
    let log = least.is_finite() && most > least * LOG_FROM;
    let axis = if log { Axis::log(least, most, 0.7, pixels) } else { Axis::linear(most, pixels) };
    let scale = if log { " (logarithmic)" } else { "" };
    text(area, (12, 22), format_args!("{title}{scale}"), Lettering::new(16, INK).bold(true))?;
    for tick in axis.ticks() {
        let x = axis.at(tick);
        line(area, vec![(x, TITLE - 4), (x, bottom)], GRID, 1)?;
        text(area, (x, bottom + 14), mark(tick), Lettering::new(12, FAINT).centred())?;
    }
    let mut y = TITLE;
    for (label, bars) in groups {
        if !label.is_empty() {
            // On a white background, because the lines of the scale would run through it.
            fill(area, [(8, y + 4), (width as i32 - 8, y + HEAD - 3)], plotters::style::WHITE)?;
            text(area, (12, y + HEAD / 2 + 1), label, Lettering::new(13, FAINT).bold(true))?;
            y += HEAD;
        }
        for one in bars {
            bar(area, &axis, y, one)?;
            y += BAR;
        }
    }
    Ok(())
}

fn bar(area: &Area, axis: &Axis, y: i32, Bar { name, spread }: &Bar) -> Result<()> {
    let middle = y + BAR / 2;
    let ours = *name == "stampede";
    let look = Lettering::new(13, INK);
    text(area, (NAMES - 8, middle), name, look.bold(ours).ending())?;
    let end = axis.at(spread.median);
    fill(area, [(NAMES, y + 4), (end.max(NAMES + 1), y + BAR - 4)], colour(name))?;
    let (from, to) = (axis.at(spread.p25), axis.at(spread.p75));
    if to > from {
        line(area, vec![(from, middle), (to, middle)], INK, 1)?;
        for x in [from, to] {
            line(area, vec![(x, middle - 4), (x, middle + 4)], INK, 1)?;
        }
    }
    text(area, (end.max(to) + 6, middle), shown(spread.median), look.bold(ours))
}

/// A round number on a scale: `0.1`, `2`, `10,000`.
fn mark(tick: f64) -> String {
    let shown = shown(tick);
    match shown.contains('.') {
        true => shown.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => shown,
    }
}

/// The frame of one panel of lines.
struct Panel<'a, 'b> {
    area: &'a Area<'b>,
    x: Axis,
    y: Axis,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Panel<'_, '_> {
    /// The grid, the values along both axes, and what is shown along the lower one.
    fn frame(&self, marks: &[(f64, String)], along: &str, values: bool) -> Result<()> {
        let faint = Lettering::new(12, FAINT);
        for tick in self.y.ticks() {
            let y = self.y.at(tick);
            line(self.area, vec![(self.left, y), (self.right, y)], GRID, 1)?;
            if values {
                text(self.area, (self.left - 8, y), mark(tick), faint.ending())?;
            }
        }
        for (value, mark) in marks {
            let x = self.x.at(*value);
            line(self.area, vec![(x, self.top), (x, self.bottom)], GRID, 1)?;
            text(self.area, (x, self.bottom + 14), mark, faint.centred())?;
        }
        let middle = (self.left + self.right) / 2;
        text(self.area, (middle, self.bottom + 34), along, faint.centred())
    }

    /// A server's line, with a dot and whiskers at each point.
    fn series(&self, server: &str, points: &[(f64, Spread)]) -> Result<()> {
        let colour = colour(server);
        let ours = server == "stampede";
        let at = |value: f64, spread: f64| (self.x.at(value), self.y.at(spread));
        let path = points.iter().map(|(value, spread)| at(*value, spread.median)).collect();
        line(self.area, path, colour, if ours { 3 } else { 2 })?;
        for (value, spread) in points {
            let (x, y) = at(*value, spread.median);
            let whisker = vec![at(*value, spread.p25), at(*value, spread.p75)];
            line(self.area, whisker, colour, 1)?;
            dot(self.area, (x, y), 4, colour)?;
        }
        Ok(())
    }
}

/// The names, from the top down.
fn legend(area: &Area, names: &[&str], x: i32, top: i32) -> Result<()> {
    for (name, row) in names.iter().zip(0..) {
        let y = top + 10 + row * 22;
        line(area, vec![(x, y), (x + 18, y)], colour(name), 3)?;
        dot(area, (x + 9, y), 4, colour(name))?;
        text(area, (x + 26, y), name, Lettering::new(13, INK).bold(*name == "stampede"))?;
    }
    Ok(())
}

fn least_and_most<'a>(spreads: impl Iterator<Item = &'a Spread>) -> (f64, f64) {
    spreads.fold((f64::INFINITY, 0.0), |(least, most), spread| {
        (spread.p25.min(least), spread.p75.max(most))
    })
}

fn lines(
    title: &str,
    figure: &str,
    along: &str,
    points: &[(f64, &'static str)],
    rows: &[Row],
) -> Result<Option<String>> {
    let mut names: Vec<(&str, f64)> = Vec::new();
    for (_, scenario) in points.iter().rev() {
        for (server, spread) in servers(rows, scenario, figure).into_iter().rev() {
            if !names.iter().any(|(name, _)| *name == server) && names.len() < LINES_MAX {
                names.push((server, spread.median));
            }
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    // In the order of the right ends of the lines, from the top down.
    names.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let names: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    let of = |server: &str| -> Vec<(f64, Spread)> {
        let at = |&(number, scenario)| Some((number, spread(rows, (scenario, server, figure))?));
        points.iter().filter_map(at).collect()
    };
    let series: Vec<_> = names.iter().map(|name| of(name)).collect();
    let (_, most) = least_and_most(series.iter().flatten().map(|(_, spread)| spread));
    let numbers = points.iter().map(|(number, _)| *number);
    let (first, last) = numbers
        .clone()
        .fold((f64::INFINITY, 0.0), |(least, most), number| (number.min(least), number.max(most)));
    let marks: Vec<_> = numbers.map(|number| (number, mark(number))).collect();
    let drawn = picture((WIDTH, LINES_HEIGHT), |area| {
        let (left, right, top, bottom) = (60, 660, TITLE, LINES_HEIGHT as i32 - 52);
        let x = Axis::log(first, last, 0.1, (left, right));
        let panel =
            Panel { area, x, y: Axis::linear(most, (bottom, top)), left, right, top, bottom };
        text(area, (12, 22), title, Lettering::new(16, INK).bold(true))?;
        panel.frame(&marks, along, true)?;
        // stampede last, so that no line covers it.
        let mut all: Vec<_> = names.iter().zip(&series).collect();
        all.sort_by_key(|(name, _)| **name == "stampede");
        all.iter().try_for_each(|(name, points)| panel.series(name, points))?;
        legend(area, &names, right + 24, top)
    });
    drawn.map(Some)
}

/// The percentiles, by their number of nines.
const NINES: [(f64, &str, &str); 5] = [
    (0.301, "50", figure::LATENCY_P50_US),
    (1.0, "90", figure::LATENCY_P90_US),
    (2.0, "99", figure::LATENCY_P99_US),
    (3.0, "99.9", figure::LATENCY_P999_US),
    (4.0, "99.99", figure::LATENCY_P9999_US),
];

fn percentiles(
    title: &str,
    loads: &[(&str, &str)],
    servers: &[&str],
    rows: &[Row],
) -> Result<Option<String>> {
    let of = |scenario: &str, server: &str| -> Vec<(f64, Spread)> {
        let at = |&(nines, _, figure): &_| Some((nines, spread(rows, (scenario, server, figure))?));
        NINES.iter().filter_map(at).collect()
    };
    let measured = |scenario: &&str| {
        let place = |server| median(rows, (scenario, server, figure::LATENCY_P99_US));
        servers.iter().any(|server| place(server).is_some())
    };
    let loads: Vec<_> = loads.iter().filter(|(_, scenario)| measured(scenario)).collect();
    let all: Vec<_> = loads
        .iter()
        .flat_map(|(_, scenario)| servers.iter().flat_map(|server| of(scenario, server)))
        .collect();
    if all.is_empty() {
        return Ok(None);
    }
    let (least, most) = least_and_most(all.iter().map(|(_, spread)| spread));
    let marks = NINES.map(|(nines, name, _)| (nines, name.to_owned()));
    let drawn = picture((WIDTH, LINES_HEIGHT), |area| {
        let title = format!("{title} (logarithmic)");
        text(area, (12, 22), title, Lettering::new(16, INK).bold(true))?;
        let (first, legend_at, gap) = (66, 730, 24);
        let width = (legend_at - first) / loads.len() as i32;
        let (top, bottom) = (TITLE + 26, LINES_HEIGHT as i32 - 52);
        for (&&(label, scenario), number) in loads.iter().zip(0..) {
            let left = first + number * width;
            let right = left + width - gap;
            let y = Axis::log(least, most, 0.1, (bottom, top));
            let x = Axis::linear(4.1, (left, right));
            let panel = Panel { area, x, y, left, right, top, bottom };
            text(
                area,
                ((left + right) / 2, TITLE + 8),
                label,
                Lettering::new(13, FAINT).bold(true).centred(),
            )?;
            panel.frame(&marks, "percentile", number == 0)?;
            servers.iter().try_for_each(|server| panel.series(server, &of(scenario, server)))?;
        }
        legend(area, servers, legend_at, top)
    });
    drawn.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_marks_have_no_needless_digits() {
        let marks = [0.0, 0.1, 2.0, 10.0, 64.0, 100.0, 0.05, 10_000.0].map(mark);
        assert_eq!(marks, ["0", "0.1", "2", "10", "64", "100", "0.05", "10,000"]);
    }
}
