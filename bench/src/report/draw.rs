//! Shared parts of the pictures: background, pens, axes, and the same colour per server everywhere.
//! The background is white, so pictures are readable on dark pages too.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Because, Result};

/// The area to draw on: the whole picture or a part. Points are in pixels from its upper left corner.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Text and axes.
pub const INK: RGBColor = RGBColor(33, 37, 41);
/// Secondary text.
pub const FAINT: RGBColor = RGBColor(108, 117, 125);
/// Lines behind the figures.
pub const GRID: RGBColor = RGBColor(222, 226, 230);

/// Colours by name that colour-blind people can distinguish. stampede's stands out, the floors are
/// grey.
const COLOURS: [(&str, RGBColor); 17] = [
    ("stampede", RGBColor(213, 62, 34)),
    ("floor", RGBColor(73, 80, 87)),
    ("floor_uring", RGBColor(134, 142, 150)),
    ("floor_sales", RGBColor(73, 80, 87)),
    ("may_minihttp", RGBColor(0, 114, 178)),
    ("axum", RGBColor(86, 180, 233)),
    ("nginx", RGBColor(0, 133, 97)),
    ("nginx_lua", RGBColor(122, 196, 130)),
    ("article", RGBColor(170, 68, 153)),
    ("axum_postgres", RGBColor(204, 121, 167)),
    ("one_evalsha", RGBColor(153, 121, 80)),
    ("bare_redis", RGBColor(150, 150, 60)),
    ("bare_append", RGBColor(120, 120, 40)),
    ("order_first", RGBColor(214, 137, 16)),
    ("pay_first", RGBColor(230, 185, 80)),
    ("held_in_sql", RGBColor(51, 102, 153)),
    ("held_by_hand", RGBColor(120, 170, 210)),
];
/// Colours of other servers.
const SPARE: [RGBColor; 4] =
    [RGBColor(102, 51, 153), RGBColor(20, 140, 160), RGBColor(180, 90, 60), RGBColor(90, 110, 40)];

/// The colour of a server, the same in every picture.
pub fn colour(server: &str) -> RGBColor {
    let own = COLOURS.iter().find(|(name, _)| *name == server).map(|(_, colour)| *colour);
    let sum: usize = server.bytes().map(usize::from).sum();
    own.unwrap_or(SPARE[sum % SPARE.len()])
}

/// A picture as SVG.
pub fn picture(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
        root.fill(&WHITE).because(|| "drawing the background".into())?;
        draw(&root)?;
        root.present().because(|| "ending a picture".into())?;
    }
    Ok(out)
}

/// Style of a text, and its side of its point. It is centred vertically.
#[derive(Clone, Copy)]
pub struct Lettering {
    size: u32,
    colour: RGBColor,
    bold: bool,
    side: HPos,
}

impl Lettering {
    /// Begins at its point.
    pub fn new(size: u32, colour: RGBColor) -> Self {
        Self { size, colour, bold: false, side: HPos::Left }
    }

    /// Ends at its point.
    pub fn ending(self) -> Self {
        Self { side: HPos::Right, ..self }
    }

    /// Has its point in the middle.
    pub fn centred(self) -> Self {
        Self { side: HPos::Center, ..self }
    }

    /// Bold, if so.
    pub fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }
}

/// Writes.
pub fn text(area: &Area, at: (i32, i32), text: impl Display, look: Lettering) -> Result<()> {
    let style = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
    // Font sizes of an SVG are three quarters of plotters' sizes.
    let font = ("sans-serif", f64::from(look.size) * 1.24, style).into_font();
    let style = font.color(&look.colour).pos(Pos::new(look.side, VPos::Center));
    area.draw_text(&text.to_string(), &style, at).because(|| "writing".into())
}

/// A line through these points.
pub fn line(area: &Area, points: Vec<(i32, i32)>, colour: RGBColor, width: u32) -> Result<()> {
    let line = PathElement::new(points, colour.stroke_width(width));
    area.draw(&line).because(|| "drawing a line".into())
}

/// A filled box between two corners.
pub fn fill(area: &Area, corners: [(i32, i32); 2], colour: RGBColor) -> Result<()> {
    area.draw(&Rectangle::new(corners, colour.filled())).because(|| "drawing a box".into())
}

/// A dot.
pub fn dot(area: &Area, at: (i32, i32), radius: i32, colour: RGBColor) -> Result<()> {
    area.draw(&Circle::new(at, radius, colour.filled())).because(|| "drawing a dot".into())
}

/// Values on a line of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    from: f64,
    to: f64,
    log: bool,
    pixels: (i32, i32),
}

impl Axis {
    /// From zero to a bit more than the most.
    pub fn linear(most: f64, pixels: (i32, i32)) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        Self { from: 0.0, to: most * 1.02, log: false, pixels }
    }

    /// From `least` to `most`, both positive, with `below` more decades under the least.
    pub fn log(least: f64, most: f64, below: f64, pixels: (i32, i32)) -> Self {
        let least = least.max(1e-9);
        let from = least / 10f64.powf(below);
        Self { from, to: most.max(least * 1.001) * 1.05, log: true, pixels }
    }

    /// The pixel of a value. A value below the axis is at its beginning.
    pub fn at(&self, value: f64) -> i32 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            value.max(self.from) / self.to
        };
        let (first, last) = self.pixels;
        first + (share * f64::from(last - first)).round() as i32
    }

    /// Round values along it, some four to eight.
    pub fn ticks(&self) -> Vec<f64> {
        if self.log { self.log_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let decade = 10f64.powf((self.to / 5.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = steps.into_iter().find(|step| self.to / step <= 6.0).unwrap_or(decade * 10.0);
        (0..=6).map(|number| f64::from(number) * step).filter(|tick| *tick <= self.to).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let all = (first..=last).flat_map(|power| steps.iter().map(move |s| s * 10f64.powi(power)));
        all.filter(|tick| (self.from..=self.to).contains(tick)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_in_one_chart_have_distinct_colours() {
        assert_eq!(colour("stampede"), colour("stampede"));
        for (at, (name, colour)) in COLOURS.iter().enumerate() {
            let same = COLOURS[at + 1..].iter().find(|(_, other)| other == colour);
            // The two floors never stand in one picture's group.
            assert!(same.is_none_or(|(other, _)| *name == "floor" && *other == "floor_sales"));
        }
        assert_ne!(colour("somebody"), WHITE);
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Axis::linear(7.4, (0, 100)).ticks(), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(Axis::linear(0.0, (0, 100)).ticks().len(), 6);
        let axis = Axis::log(100.0, 50_000.0, 0.0, (0, 100));
        assert_eq!(axis.ticks(), [100.0, 1_000.0, 10_000.0]);
        assert_eq!((axis.at(100.0), axis.at(1.0)), (0, 0));
        assert_eq!(Axis::log(64.0, 300.0, 0.0, (0, 100)).ticks(), [100.0, 200.0]);
    }
}
