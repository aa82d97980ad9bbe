//! The noise of the machine. The floor does the same work in every round, so differences between its
//! rounds come from the machine. The share of the processors' time that other programs used is
//! measured directly. Both decide whether a run may carry a verdict (`objection`).

use super::layout::FLOORS;
use super::spread::{Spread, scenarios, spread};
use crate::rows::{Row, figure};

/// Distance between the quartiles of the floor's CPU per request, relative to its median.
const NOISY: f64 = 0.10;
const TOO_NOISY: f64 = 0.25;
/// Quartiles of fewer rounds mean nothing, so there is no verdict. Commands with promises measure at
/// least as many by default.
pub const ROUNDS_MIN: u32 = 4;
/// With a larger share of foreign CPU in a scenario there is no verdict.
const FOREIGN_MAX: f64 = 0.10;

/// Figures of the machine, not of a server. Only this module uses them.
pub const OF_THE_MACHINE: [&str; 3] = [figure::STEAL_MS, figure::OTHER_CPU_MS, figure::CORES_MS];

/// Whether quartiles of this number of rounds mean something.
pub(super) fn is_enough(rounds: usize) -> bool {
    rounds >= ROUNDS_MIN as usize
}

/// Why these scenarios allow no verdict, as a table says it. `None`: they allow one. `rounds` is the
/// number of rounds from which the figure was computed.
pub(super) fn objection(rows: &[Row], scenarios: &[&str], rounds: usize) -> Option<String> {
    if !is_enough(rounds) {
        return Some(format!("no verdict: {rounds} of {ROUNDS_MIN} rounds"));
    }
    let shares = scenarios.iter().filter_map(|scenario| foreign(rows, scenario));
    let worst = shares.max_by(f64::total_cmp).filter(|share| *share >= FOREIGN_MAX)?;
    Some(format!("no verdict: {:.0} % foreign CPU", worst * 100.0))
}

/// The share of the cores' time that a scenario lost to other programs and other machines. `None`:
/// it was not measured.
fn foreign(rows: &[Row], scenario: &str) -> Option<f64> {
    let of_it = || rows.iter().filter(|row| row.scenario == scenario);
    let steal = share(of_it(), figure::STEAL_MS)?;
    Some(steal + share(of_it(), figure::OTHER_CPU_MS)?)
}

/// What a figure of the machine comes to as a share of the cores' time. `None`: it was not measured.
fn share<'a>(rows: impl Iterator<Item = &'a Row>, name: &str) -> Option<f64> {
    let (mut ms, mut cores_ms) = (0.0, 0.0);
    for row in rows {
        match &*row.figure {
            figure::CORES_MS => cores_ms += row.value,
            of if of == name => ms += row.value,
            _ => {}
        }
    }
    (cores_ms > 0.0).then(|| ms / cores_ms)
}

/// The section on noise. Empty if no floor was measured and nobody looked at the machine.
pub fn noise(rows: &[Row]) -> String {
    let parts = [floors(rows), shares(rows)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("## Noise\n\n{}\n", parts.join("\n\n"))
}

/// The distance between the floor's rounds, per scenario; the median of the scenarios decides. `None`:
/// no floor was measured.
pub fn floors(rows: &[Row]) -> Option<String> {
    let mut found: Vec<(f64, &str)> = Vec::new();
    let mut rounds_most = 0;
    for scenario in scenarios(rows) {
        let of = |floor: &&str| spread(rows, (scenario, floor, figure::SERVER_CPU_US));
        let Some(Spread { median, p25, p75, count, .. }) = FLOORS.iter().find_map(of) else {
            continue;
        };
        rounds_most = rounds_most.max(count);
        if is_enough(count) && median > 0.0 {
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
        let rounds = if rounds_most == 1 { "round" } else { "rounds" };
        return Some(format!(
            "**The noise is unknown**: the floor was measured in {rounds_most} {rounds}. An \
             estimate takes {ROUNDS_MIN}."
        ));
    };
    let share = all.median;
    let percent = share * 100.0;
    let verdict = if share > TOO_NOISY {
        format!("**Too noisy to judge ratios within {percent:.0} %.**")
    } else if share > NOISY {
        "**Noisy: read a ratio only with its quartiles.**".to_owned()
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
        "{verdict} The floor does the same work in every round. The middle half of its rounds spans \
         {percent:.0} % of its median CPU per request ({of})."
    ))
}

/// What other programs and other machines took of the processors' time.
fn shares(rows: &[Row]) -> Option<String> {
    let kinds = [
        (figure::STEAL_MS, "went to other machines of the hypervisor"),
        (figure::OTHER_CPU_MS, "went to programs that this run had not started"),
    ];
    let (mut sentences, mut foreign) = (Vec::new(), 0.0);
    for (name, what) in kinds {
        let all = rows.iter().filter(|row| row.figure == name);
        let most = all.max_by(|a, b| a.value.total_cmp(&b.value));
        let (Some(most), Some(share)) = (most, share(rows.iter(), name)) else { continue };
        foreign += share;
        sentences.push(format!(
            "{:.1} % of the cores' time {what} (at most {:.0} ms of a measurement: {}, {}, round {}).",
            share * 100.0,
            most.value,
            most.scenario,
            most.server,
            most.round,
        ));
    }
    if foreign >= FOREIGN_MAX {
        sentences.insert(0, "**The machine was shared with other programs.**".into());
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
    fn noise_is_judged_by_the_floor() {
        assert_eq!(of(&[]), "");
        assert!(of(&[7.0, 7.1]).contains("is unknown**: the floor was measured in 2 rounds"));
        assert!(of(&[7.0]).contains("measured in 1 round. An"));
        assert!(of(&[10.0, 10.1, 10.0, 9.9]).contains("**Quiet.**"));
        assert!(of(&[9.0, 10.0, 10.0, 12.0, 12.0]).contains("**Noisy: "));
        let noisy = of(&[6.0, 8.0, 10.0, 12.0, 14.0]);
        assert!(noisy.contains("**Too noisy to judge ratios within 40 %.**"), "{noisy}");
        assert!(noisy.contains("40 % of its median CPU per request (in rejections)."));
    }

    #[test]
    fn a_verdict_needs_four_rounds_and_an_idle_machine() {
        let mut rows = [
            row(1, figure::STEAL_MS, 100.0),
            row(1, figure::OTHER_CPU_MS, 299.0),
            row(1, figure::CORES_MS, 4_000.0),
        ];
        let objection = |rows: &[Row], rounds| objection(rows, &["rejections", "other"], rounds);
        assert_eq!(objection(&rows, 4), None);
        assert_eq!(objection(&rows, 3).as_deref(), Some("no verdict: 3 of 4 rounds"));
        rows[1].value = 300.0;
        assert_eq!(objection(&rows, 4).as_deref(), Some("no verdict: 10 % foreign CPU"));
        // Old runs have no figures of the machine: only the rounds count.
        assert_eq!(objection(&[], 4), None);
    }

    #[test]
    fn foreign_cpu_is_a_share_of_the_core_time() {
        let mut rows = [
            row(1, figure::STEAL_MS, 0.0),
            row(1, figure::OTHER_CPU_MS, 300.0),
            row(1, figure::CORES_MS, 4_000.0),
            row(2, figure::STEAL_MS, 80.0),
            row(2, figure::OTHER_CPU_MS, 100.0),
            row(2, figure::CORES_MS, 4_000.0),
        ];
        let text = noise(&rows);
        assert!(text.contains("1.0 % of the cores' time went to other machines"), "{text}");
        assert!(text.contains("(at most 80 ms of a measurement: rejections, floor, round 2)"));
        assert!(text.contains("5.0 % of the cores' time went to programs"));
        assert!(!text.contains("was shared"));
        rows[4].value = 900.0;
        assert!(noise(&rows).contains("\n\n**The machine was shared with other programs.** 1.0 %"));
    }
}
