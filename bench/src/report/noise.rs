//! How noisy the machine was, judged by what was measured on it: the floor does the same work in
//! every round, so how far its rounds lie apart is not its doing.

use super::layout::FLOORS;
use super::spread::{Spread, scenarios, spread};
use crate::rows::{Row, figure};

/// Between the quartiles of the floor's CPU per request, relative to its median.
const NOISY: f64 = 0.10;
const TOO_NOISY: f64 = 0.25;
/// Quartiles of fewer say nothing.
pub(super) const ROUNDS_MIN: usize = 4;

/// What tells of the machine and not of a server: of use here alone.
pub const OF_THE_MACHINE: [&str; 3] = [figure::STEAL_MS, figure::OTHER_CPU_MS, figure::CORES_MS];

/// The section on noise. Empty if no floor was measured and nobody looked at the machine.
pub fn noise(rows: &[Row]) -> String {
    let parts = [floors(rows), shares(rows)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("## How noisy it was\n\n{}\n", parts.join("\n\n"))
}

/// How far the floor's rounds lie apart, by scenario; the median of the scenarios decides. `None`: no
/// floor was measured.
pub fn floors(rows: &[Row]) -> Option<String> {
    let mut found: Vec<(f64, &str)> = Vec::new();
    let mut rounds_most = 0;
    for scenario in scenarios(rows) {
        let of = |floor: &&str| spread(rows, (scenario, floor, figure::SERVER_CPU_US));
        let Some(Spread { median, p25, p75, count, .. }) = FLOORS.iter().find_map(of) else {
            continue;
        };
        rounds_most = rounds_most.max(count);
        if count >= ROUNDS_MIN && median > 0.0 {
            found.push(((p75 - p25) / median, scenario));
        }
    }
    if rounds_most == 0 {
        return None;
    }
    let (Some(all), Some((worst, scenario))) = (
        Spread::of(found.iter().map(|(share, _)| *share)),
        found.iter().max_by(|(a, _), (b, _)| a.total_cmp(b)),
    ) else {
        return Some(format!(
            "**How noisy it was can't be told**: the floor was measured in {rounds_most} rounds, and \
             it takes {ROUNDS_MIN}."
        ));
    };
    let share = all.median;
    let percent = share * 100.0;
    let verdict = if share > TOO_NOISY {
        format!("**Too noisy to judge ratios within {percent:.0} %.**")
    } else if share > NOISY {
        "**Noisy: a ratio means little without its quartiles.**".to_owned()
    } else {
        "**Quiet.**".to_owned()
    };
    let of = match found.len() {
        1 => format!("in {scenario}"),
        count => format!(
            "the median of {count} scenarios; at most {:.0} %, in {scenario}",
            worst * 100.0
        ),
    };
    Some(format!(
        "{verdict} The floor does the same work in every round; the middle half of its rounds spans \
         {percent:.0} % of its median CPU per request ({of})."
    ))
}

/// What others took of the machine meanwhile.
fn shares(rows: &[Row]) -> Option<String> {
    let kinds = [
        (figure::STEAL_MS, "was given to other machines by the hypervisor"),
        (figure::OTHER_CPU_MS, "was used by programs that this run had not started"),
    ];
    let sum = |name| -> f64 {
        let all = rows.iter().filter(|row| row.figure == name);
        // A sum of none would be -0.
        all.map(|row| row.value).fold(0.0, |sum, value| sum + value)
    };
    let cores_ms = sum(figure::CORES_MS);
    let (mut sentences, mut share) = (Vec::new(), 0.0);
    for (name, what) in kinds {
        let all = rows.iter().filter(|row| row.figure == name);
        let most = all.max_by(|a, b| a.value.total_cmp(&b.value));
        let (Some(most), true) = (most, cores_ms > 0.0) else { continue };
        share += sum(name) / cores_ms;
        sentences.push(format!(
            "{:.1} % of the cores' time {what} (at most {:.0} ms of a measurement: {}, {}, round {}).",
            sum(name) / cores_ms * 100.0,
            most.value,
            most.scenario,
            most.server,
            most.round,
        ));
    }
    if share > NOISY {
        sentences.insert(0, "**We were not alone on the machine.**".into());
    }
    Some(sentences.join(" ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, figure: &'static str, value: f64) -> Row {
        let (scenario, server) = ("rejections".into(), "floor".into());
        Row { round, scenario, server, figure: figure.into(), value }
    }

    fn of(values: &[f64]) -> String {
        let rows = values.iter().zip(1..);
        let rows: Vec<Row> =
            rows.map(|(&value, round)| row(round, figure::SERVER_CPU_US, value)).collect();
        noise(&rows)
    }

    #[test]
    fn the_floor_tells_how_noisy_it_was() {
        assert_eq!(of(&[]), "");
        assert!(of(&[7.0, 7.1]).contains("can't be told**: the floor was measured in 2 rounds"));
        assert!(of(&[10.0, 10.1, 10.0, 9.9]).contains("**Quiet.**"));
        assert!(of(&[9.0, 10.0, 10.0, 12.0, 12.0]).contains("**Noisy: "));
        let noisy = of(&[6.0, 8.0, 10.0, 12.0, 14.0]);
        assert!(noisy.contains("**Too noisy to judge ratios within 40 %.**"), "{noisy}");
        assert!(noisy.contains("40 % of its median CPU per request (in rejections)."));
    }

    #[test]
    fn what_others_took_is_a_share_of_the_cores_time() {
        let mut rows = [
            row(1, figure::STEAL_MS, 0.0),
            row(1, figure::OTHER_CPU_MS, 300.0),
            row(1, figure::CORES_MS, 4_000.0),
            row(2, figure::STEAL_MS, 80.0),
            row(2, figure::OTHER_CPU_MS, 100.0),
            row(2, figure::CORES_MS, 4_000.0),
        ];
        let text = noise(&rows);
        assert!(text.contains("1.0 % of the cores' time was given to other machines"), "{text}");
        assert!(text.contains("(at most 80 ms of a measurement: rejections, floor, round 2)"));
        assert!(text.contains("5.0 % of the cores' time was used by programs"));
        assert!(!text.contains("not alone"));
        rows[4].value = 900.0;
        assert!(noise(&rows).contains("\n\n**We were not alone on the machine.** 1.0 %"));
    }
}
