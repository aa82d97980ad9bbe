//! The table of results in the README, between two markers: all else is its writer's.
//!
//! It leads with what a shop sends (a purchase with a user and a key), as [`layout`](super::layout) has
//! the lines and the pictures; a run that did not measure that leads with what it has.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::charts::more_is_better;
use super::layout::{FLOORS, Layout, Line};
use super::noise;
use super::spread::servers;
use super::tables::{shown, to_floor};
use crate::error::{Because, Result, fail};
use crate::rows::Row;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const OURS: &str = "stampede";

/// Writes the README's table anew from the rows of the run in `folder`, whose `versions.txt` says
/// when and on what it was. Fails, and changes nothing, unless there is each marker once, in order.
pub fn refresh(readme: &Path, rows: &[Row], layout: &Layout, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(readme).because(|| format!("reading {}", readme.display()))?;
    let versions = folder.join("versions.txt");
    let versions = fs::read_to_string(&versions)
        .because(|| format!("reading {}, for the date and the processor", versions.display()))?;
    let link = link(readme, folder)?;
    let pictures = layout.charts.iter().filter_map(|chart| {
        let file = format!("{}.svg", chart.name);
        folder.join(&file).is_file().then(|| (chart.title, format!("{link}/{file}")))
    });
    let section = section(rows, &layout.lines, &versions, &link, &pictures.collect::<Vec<_>>());
    let text = replaced(&text, &section?).because(|| readme.display().to_string())?;
    fs::write(readme, text).because(|| format!("writing {}", readme.display()))
}

/// The run's folder as the README calls it: below the folder that it lies in.
fn link(readme: &Path, folder: &Path) -> Result<String> {
    let whole = |path: &Path| -> Result<PathBuf> {
        path.canonicalize().because(|| format!("looking for {}", path.display()))
    };
    let (readme, folder) = (whole(readme)?, whole(folder)?);
    let below = readme.parent().and_then(|base| folder.strip_prefix(base).ok());
    match below.and_then(Path::to_str) {
        Some(link) => Ok(link.to_owned()),
        None => fail(format!(
            "{} is not below the folder of {}, so it can't be linked",
            folder.display(),
            readme.display()
        )),
    }
}

fn replaced(text: &str, section: &str) -> Result<String> {
    for marker in [BEGIN, END] {
        let count = text.matches(marker).count();
        if count != 1 {
            return fail(format!("the marker {marker} must be there once, and is {count} times"));
        }
    }
    match text.split_once(BEGIN).map(|(before, rest)| (before, rest.split_once(END))) {
        Some((before, Some((_, after)))) => Ok(format!("{before}{BEGIN}\n{section}{END}{after}")),
        _ => fail(format!("the marker {END} must come behind {BEGIN}")),
    }
}

fn section(
    rows: &[Row],
    lines: &[Line],
    versions: &str,
    link: &str,
    pictures: &[(&str, String)],
) -> Result<String> {
    let of = |name: &str| {
        let line = versions.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or("unknown").to_owned()
    };
    let rounds = rows.iter().map(|row| row.round).max().unwrap_or(0);
    let table: String = lines.iter().filter_map(|line| table_line(rows, line)).collect();
    if table.is_empty() {
        return fail("nothing of this run belongs into the README");
    }
    let date = of("date");
    let mut out = format!(
        "{}, {}, medians of up to {rounds} rounds; quartiles, commands and raw data are in \
         [`{link}`]({link}/summary.md). \"× floor\" is the median of the ratios within rounds.{}\n\n\
         | | stampede | × floor | floor | others, the best first |\n|---|---:|---:|---:|---|\n{table}",
        date.split(' ').next().unwrap_or_default(),
        of("cpu"),
        noise::floors(rows).map_or_else(String::new, |noise| format!(" {noise}")),
    );
    if let [(title, file), others @ ..] = pictures {
        // Writing to a String can't fail.
        let _ = writeln!(out, "\n![{title}]({file})");
        let links: Vec<_> =
            others.iter().map(|(title, file)| format!("[{title}]({file})")).collect();
        if !links.is_empty() {
            let _ = writeln!(out, "\nAs pictures too: {}.", links.join("; "));
        }
    }
    Ok(out)
}

/// `None`: we have no such figure.
fn table_line(rows: &[Row], Line { text, scenario, figure }: &Line) -> Option<String> {
    let mut all = servers(rows, scenario, figure);
    if more_is_better(figure) {
        all.reverse();
    }
    let value = |name: &str| all.iter().find(|(server, _)| *server == name);
    let (_, ours) = value(OURS)?;
    let floor = FLOORS.iter().find_map(|floor| value(floor));
    let others = all.iter().filter(|(server, _)| *server != OURS && !FLOORS.contains(server));
    let others: Vec<_> =
        others.map(|(server, spread)| format!("{server} {}", shown(spread.median))).collect();
    let or_none = |shown: Option<String>| shown.unwrap_or_else(|| "–".into());
    Some(format!(
        "| {text} | {} | {} | {} | {} |\n",
        shown(ours.median),
        or_none(to_floor(rows, scenario, OURS, figure).map(|ratio| format!("{ratio:.2}"))),
        or_none(floor.map(|(_, spread)| shown(spread.median))),
        or_none(Some(others.join(", ")).filter(|others| !others.is_empty())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::figure::{SALES_PER_S, SERVER_CPU_US};

    fn rows() -> Vec<Row> {
        let row = |server: &'static str, figure: &'static str, value| {
            let (scenario, server, figure) = ("all".into(), server.into(), figure.into());
            Row { round: 1, scenario, server, figure, value }
        };
        vec![
            row("stampede", SERVER_CPU_US, 7.0),
            row("nginx", SERVER_CPU_US, 9.0),
            row("axum", SERVER_CPU_US, 8.0),
            row("floor", SERVER_CPU_US, 6.0),
            row("article", SALES_PER_S, 9_000.0),
            row("nginx_lua", SALES_PER_S, 20_000.0),
            row("stampede", SALES_PER_S, 62_000.0),
        ]
    }

    #[test]
    fn only_what_is_between_the_markers_is_written_anew() {
        let text = format!("before {BEGIN}\nold\n{END} after\n");
        let new = replaced(&text, "new\n").expect("replaced");
        assert_eq!(new, format!("before {BEGIN}\nnew\n{END} after\n"));
        assert_eq!(replaced(&new, "new\n").expect("again"), new);
        for bad in ["", BEGIN, &format!("{END}{BEGIN}"), &format!("{BEGIN}{BEGIN}{END}")] {
            assert!(replaced(bad, "new").is_err(), "{bad}");
        }
    }

    #[test]
    fn purchases_of_a_shop_come_first_where_they_were_measured() {
        let row = |scenario: &'static str, figure: &'static str| {
            let (scenario, server, figure) = (scenario.into(), OURS.into(), figure.into());
            Row { round: 1, scenario, server, figure, value: 1.0 }
        };
        let rejections = row("rejections_keepalive", SERVER_CPU_US);
        let lines = Layout::default().lines;
        let first = |rows: &[Row]| {
            let section = section(rows, &lines, "", "run", &[]).expect("a section");
            let line = section.lines().find(|line| line.starts_with("| ") && line.contains("1.00"));
            line.expect("a line").to_owned()
        };
        assert!(first(std::slice::from_ref(&rejections)).starts_with("| CPU per rejection, kept"));
        let both = [rejections, row("shop_keyed", SALES_PER_S)];
        assert!(first(&both).starts_with("| purchases/s by POST with user, key"));
    }

    #[test]
    fn a_readme_gets_its_table() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("bench/runs/today");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(
            folder.join("versions.txt"),
            "date: 2026-01-31 10:00:00 UTC\ncpu: Fast, 2 cores\n",
        )
        .expect("versions");
        fs::write(folder.join("headline.svg"), "").expect("a picture");
        let readme = home.path().join("README.md");
        fs::write(&readme, format!("# Us\n\n{BEGIN}\n{END}\n\nEnd\n")).expect("a README");
        let line = |text, figure| Line { text, scenario: "all", figure };
        let lines = vec![
            line("CPU, us", SERVER_CPU_US),
            line("sales/s", SALES_PER_S),
            Line { text: "never", scenario: "none", figure: SALES_PER_S },
        ];
        let layout = Layout { lines, ..Layout::default() };
        refresh(&readme, &rows(), &layout, &folder).expect("refreshed");
        let text = fs::read_to_string(&readme).expect("a README");
        let wanted = "2026-01-31, Fast, 2 cores, medians of up to 1 rounds";
        assert!(text.starts_with(&format!("# Us\n\n{BEGIN}\n{wanted}")), "{text}");
        assert!(text.contains("[`bench/runs/today`](bench/runs/today/summary.md)"));
        assert!(text.contains("| CPU, us | 7.00 | 1.17 | 6.00 | axum 8.00, nginx 9.00 |\n"));
        assert!(text.contains("| sales/s | 62,000 | – | – | nginx_lua 20,000, article 9,000 |\n"));
        assert!(text.contains("](bench/runs/today/headline.svg)\n"));
        assert!(!text.contains("never") && text.ends_with(&format!("{END}\n\nEnd\n")));

        let before = fs::read_to_string(&readme).expect("a README");
        assert!(refresh(&readme, &[], &layout, &folder).is_err());
        let elsewhere = tempfile::tempdir().expect("a folder");
        assert!(refresh(&readme, &rows(), &layout, elsewhere.path()).is_err());
        assert_eq!(fs::read_to_string(&readme).expect("a README"), before);
    }
}
