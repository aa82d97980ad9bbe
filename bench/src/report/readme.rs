//! The table of results in the README, between two markers. The remainder of the README is written by
//! hand.
//!
//! Every comparison is a ratio of figures from the same round, with its quartiles: medians of single
//! columns may come from different rounds, so a peer could look cheaper than it is. The table leads with
//! what a shop sends (a purchase with a user and a key); [`layout`](super::layout) has its lines.

use std::fs;
use std::path::{Path, PathBuf};

use super::charts::more_is_better;
use super::layout::{Layout, Line};
use super::noise;
use super::spread::{Spread, ratios, servers, spread, values};
use super::tables::shown;
use crate::error::{Because, Result, fail};
use crate::rows::Row;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const OURS: &str = "stampede";
/// Other servers per line: those with the best figures relative to stampede.
const OTHERS_MAX: usize = 4;

/// Updates the README's table from the rows of the run in `folder`, whose `versions.txt` has its date
/// and machine. Fails, and changes nothing, unless each marker occurs once, in order.
pub fn refresh(readme: &Path, rows: &[Row], layout: &Layout, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(readme).because(|| format!("reading {}", readme.display()))?;
    let versions = folder.join("versions.txt");
    let versions = fs::read_to_string(&versions)
        .because(|| format!("reading {}, for the date and the processor", versions.display()))?;
    let link = link(readme, folder)?;
    let section = section(rows, &layout.lines, &versions, &link);
    let text = replaced(&text, &section?).because(|| readme.display().to_string())?;
    fs::write(readme, text).because(|| format!("writing {}", readme.display()))
}

/// The run's folder relative to the README's folder.
fn link(readme: &Path, folder: &Path) -> Result<String> {
    let whole = |path: &Path| -> Result<PathBuf> {
        path.canonicalize().because(|| format!("looking for {}", path.display()))
    };
    let (readme, folder) = (whole(readme)?, whole(folder)?);
    let below = readme.parent().and_then(|base| folder.strip_prefix(base).ok());
    match below.and_then(Path::to_str) {
        Some(link) => Ok(link.to_owned()),
        None => fail(format!(
            "{} is not below the folder of {}, so the table can't link to the run",
            folder.display(),
            readme.display()
        )),
    }
}

fn replaced(text: &str, section: &str) -> Result<String> {
    for marker in [BEGIN, END] {
        let count = text.matches(marker).count();
        if count != 1 {
            return fail(format!("the marker {marker} must occur once, but occurs {count} times"));
        }
    }
    match text.split_once(BEGIN).map(|(before, rest)| (before, rest.split_once(END))) {
        Some((before, Some((_, after)))) => Ok(format!("{before}{BEGIN}\n{section}{END}{after}")),
        _ => fail(format!("the marker {END} must come after {BEGIN}")),
    }
}

fn section(rows: &[Row], lines: &[Line], versions: &str, link: &str) -> Result<String> {
    let of = |name: &str| {
        let line = versions.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or("unknown").to_owned()
    };
    let rounds = rows.iter().map(|row| row.round).max().unwrap_or(0);
    let table: String = lines.iter().filter_map(|line| table_line(rows, line)).collect();
    if table.is_empty() {
        return fail("this run has no figure for the README");
    }
    let date = of("date");
    let rounds_noun = if rounds == 1 { "round" } else { "rounds" };
    let few = if rounds < noise::ROUNDS_MIN {
        format!(" **Quartiles of fewer than {} rounds mean little.**", noise::ROUNDS_MIN)
    } else {
        String::new()
    };
    Ok(format!(
        "{}, {}, medians of up to {rounds} {rounds_noun}. `0.50 (0.45–0.55) × nginx` means: \
         stampede's figure was half of nginx's figure of the same round, in the median round, and \
         between 0.45 and 0.55 of it in half of the rounds. Each line has up to {OTHERS_MAX} of \
         the strongest others.{few} [All figures, commands and raw data]({link}/summary.md).\n\n\
         | | stampede | × others, in the same rounds |\n|---|---:|---|\n{table}",
        date.split(' ').next().unwrap_or_default(),
        of("cpu"),
    ))
}

/// `None`: stampede has no such figure.
fn table_line(rows: &[Row], Line { text, scenario, figure }: &Line) -> Option<String> {
    let of = |server| values(rows, (scenario, server, figure));
    let ours = of(OURS);
    let median = spread(rows, (scenario, OURS, figure))?.median;
    let all = servers(rows, scenario, figure);
    let others = all.iter().map(|(server, _)| *server).filter(|server| *server != OURS);
    let mut pairs: Vec<(&str, Spread)> = others
        .filter_map(|server| {
            let ratios = ratios(&ours, &of(server)).into_iter().map(|(_, ratio)| ratio);
            Some((server, Spread::of(ratios)?))
        })
        .collect();
    // The strongest first.
    pairs.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    if !more_is_better(figure) {
        pairs.reverse();
    }
    let shown_pairs: Vec<_> = pairs
        .iter()
        .take(OTHERS_MAX)
        .map(|(server, Spread { median, p25, p75, .. })| {
            format!("{} ({}–{}) × {server}", ratio(*median), ratio(*p25), ratio(*p75))
        })
        .collect();
    let pairs = if shown_pairs.is_empty() { "–".into() } else { shown_pairs.join(", ") };
    Some(format!("| {text} | {} | {pairs} |\n", shown(median)))
}

/// A ratio with two significant digits.
fn ratio(value: f64) -> String {
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.0995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
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
    fn only_the_text_between_the_markers_is_replaced() {
        let text = format!("before {BEGIN}\nold\n{END} after\n");
        let new = replaced(&text, "new\n").expect("replaced");
        assert_eq!(new, format!("before {BEGIN}\nnew\n{END} after\n"));
        assert_eq!(replaced(&new, "new\n").expect("again"), new);
        for bad in ["", BEGIN, &format!("{END}{BEGIN}"), &format!("{BEGIN}{BEGIN}{END}")] {
            assert!(replaced(bad, "new").is_err(), "{bad}");
        }
    }

    #[test]
    fn shop_purchases_come_first_when_measured() {
        let row = |scenario: &'static str, figure: &'static str| {
            let (scenario, server, figure) = (scenario.into(), OURS.into(), figure.into());
            Row { round: 1, scenario, server, figure, value: 1.0 }
        };
        let rejections = row("rejections_keepalive", SERVER_CPU_US);
        let lines = Layout::default().lines;
        let first = |rows: &[Row]| {
            let section = section(rows, &lines, "", "run").expect("a section");
            let line = section.lines().find(|line| line.starts_with("| ") && line.contains("1.00"));
            line.expect("a line").to_owned()
        };
        assert!(first(std::slice::from_ref(&rejections)).starts_with("| CPU per rejection, us"));
        let both = [rejections, row("shop_keyed", SALES_PER_S)];
        assert!(first(&both).starts_with("| purchases/s, Redis in memory"));
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
        let wanted = "2026-01-31, Fast, 2 cores, medians of up to 1 round.";
        assert!(text.starts_with(&format!("# Us\n\n{BEGIN}\n{wanted}")), "{text}");
        assert!(text.contains("[All figures, commands and raw data](bench/runs/today/summary.md)"));
        assert!(text.contains("| CPU, us | 7.00 | 1.17 (1.17–1.17) × floor, 0.88 (0.88–0.88) × axum, 0.78 (0.78–0.78) × nginx |\n"));
        assert!(text.contains(
            "| sales/s | 62,000 | 3.10 (3.10–3.10) × nginx_lua, 6.89 (6.89–6.89) × article |\n"
        ));
        assert!(!text.contains("never") && text.ends_with(&format!("{END}\n\nEnd\n")));

        let before = fs::read_to_string(&readme).expect("a README");
        assert!(refresh(&readme, &[], &layout, &folder).is_err());
        let elsewhere = tempfile::tempdir().expect("a folder");
        assert!(refresh(&readme, &rows(), &layout, elsewhere.path()).is_err());
        assert_eq!(fs::read_to_string(&readme).expect("a README"), before);
    }
}
