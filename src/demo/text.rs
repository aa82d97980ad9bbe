//! The printed texts of a demonstration. Pure.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::plan::{Plan, orders_in};
use super::shared::Verdict;
use super::tally::{Latencies, Tally, Units};
use crate::duration::format_duration;

/// The heading above the lines of progress.
pub const HEADING: &str =
    "\n   time |     left     held     paid |    asked  refused  gave back  expired\n";

/// The banner: addresses, commands, and what happens next.
pub fn banner(plan: &Plan, public: SocketAddr, control: SocketAddr, folder: &Path) -> String {
    let mut text = format!("stampede {}: a demonstration\n\n", env!("CARGO_PKG_VERSION"));
    let orders = orders_in(folder);
    let mut line = |name: &str, what: &str| _ = writeln!(text, "  {name:<9}{what}");
    line("buy", &format!("http://{public}/"));
    line("watch", &format!("http://{control}/"));
    line(
        "curl",
        &format!(
            "curl -i -H 'X-User-Id: ann' -H 'Idempotency-Key: my-first' http://{public}/buy/ticket"
        ),
    );
    let query = "SELECT status, count(*) FROM orders GROUP BY status";
    line("orders", &format!("sqlite3 {} '{query}'", orders.display()));
    line("stop", "Ctrl-C");
    if plan.force_public {
        line(
            "warning",
            "other machines may reach the public port, buy in any name, and pay with the stand-in",
        );
    }
    let (tickets, hold) = (number(plan.tickets), format_duration(plan.hold_ms));
    _ = writeln!(
        text,
        "\n{tickets} tickets, one per buyer. A ticket is held for {hold}, until it is paid for."
    );
    if plan.buyers > 0 {
        let (buyers, over) = (number(plan.buyers), format_duration(plan.over_ms));
        _ = writeln!(text, "A crowd of {buyers} buyers arrives within {over} of the opening.");
        if plan.over_ms > 2_000 {
            text += "A real crowd is faster. This crowd is slow, so that you can watch and have a fair chance.\n";
        }
    }
    text.push('\n');
    text
}

/// Units and counts, as the rest of a line.
pub fn progress(units: Units, tally: &Tally) -> String {
    let Units { free, held, paid } = units;
    let [free, held, paid] = [free, held, paid].map(number);
    let [asked, refused] = [tally.asked, tally.refused].map(number);
    let [given_back, expired] = [tally.given_back, tally.expired].map(number);
    format!(
        " | {free:>8} {held:>8} {paid:>8} | {asked:>8} {refused:>8} {given_back:>10} {expired:>8}"
    )
}

/// The summary at the end of the sale.
pub fn summary(plan: &Plan, units: Units, tally: &Tally) -> String {
    let (paid, tickets) = (number(units.paid), number(plan.tickets));
    let by_hand = units.paid.saturating_sub(tally.paid);
    let mut text = format!("\nThe sale is over: {paid} of {tickets} tickets are paid for");
    text += &match by_hand {
        0 => ".\n".to_owned(),
        _ => format!(", {} of them not by the crowd.\n", number(by_hand)),
    };
    text + &seen(tally)
}

/// The summary when the server is stopped before the end of the sale.
pub fn stopped(tally: &Tally) -> String {
    format!("\nStopped before the sale was over.\n{}", seen(tally))
}

fn seen(tally: &Tally) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: &str| _ = writeln!(text, "  {name:<12}{what}");
    let (buyers, asked) = (number(tally.buyers), number(tally.asked));
    line("the crowd", &format!("{buyers} buyers, {asked} requests for a ticket"));
    let (sold, refused) = (number(tally.sold), number(tally.refused));
    line("answers", &format!("{sold} got a ticket, {refused} were refused as sold out"));
    if tally.not_open > 0 {
        line("", &format!("{} came before the opening and were repeated", number(tally.not_open)));
    }
    if tally.again > 0 {
        let again = number(tally.again);
        line("", &format!("{again} had no clear outcome and were repeated with the same key"));
    }
    if let Some(example) = &tally.unexpected_example {
        line("", &format!("{} got another answer, such as {example}", number(tally.unexpected)));
    }
    let [paid, back, expired] = [tally.paid, tally.given_back, tally.expired].map(number);
    line("tickets", &format!("{paid} paid for, {back} given back, {expired} expired"));
    for (name, times) in [("got one", &tally.sold_latencies), ("refused", &tally.refused_latencies)]
    {
        if let Some(reporting) = latency(times) {
            line(name, &reporting);
        }
    }
    text
}

fn latency(times: &Latencies) -> Option<String> {
    let ms = |time: std::time::Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let (half, most) = (times.within(0.5)?, times.within(0.99)?);
    let (half, most, longest) = (ms(half), ms(most), ms(times.longest()));
    Some(format!("half of the answers within {half}, 99 % within {most}, all within {longest}"))
}

/// The line with the verdict of the audit.
pub fn verdict(verdict: &Verdict) -> String {
    let found = match verdict {
        Err(reason) => format!("the audit is incomplete: {reason}"),
        Ok(report) => {
            let result = match report.differences {
                0 => "the audit agrees".to_owned(),
                count => format!("THE AUDIT FOUND {count} DIFFERENCES"),
            };
            let reservations: u64 = report.sales.iter().map(|sale| sale.reservations).sum();
            let confirmed: u64 = report.sales.iter().map(|sale| sale.confirmed).sum();
            let (reservations, confirmed) = (number(reservations), number(confirmed));
            let checks: usize = report.sales.iter().map(|sale| sale.checks.len()).sum();
            let late = match report.on_their_way {
                0 => String::new(),
                count => format!(", {} changes on their way to the orders", number(count)),
            };
            format!(
                "{result}: {checks} checks of {reservations} reservations, of which {confirmed} \
                 are paid for, and their orders{late}"
            )
        }
    };
    format!("  {:<12}{found}\n", "audit")
}

/// A number with separators between thousands.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Report;

    #[test]
    fn thousands_are_separated() {
        for (plain, shown) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (30_000, "30,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(number(plain), shown);
        }
    }

    #[test]
    fn progress_lines_up_with_its_heading() {
        let line = format!("{:>5} s{}", 3, progress(Units::default(), &Tally::default()));
        let heading = HEADING.trim_matches('\n');
        assert_eq!(line.len(), heading.len());
        let bars = |text: &str| text.match_indices('|').map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(bars(&line), bars(heading));
    }

    #[test]
    fn the_verdict_names_audit_differences() {
        let report = Report { differences: 2, ..Report::default() };
        assert!(verdict(&Ok(report)).contains("FOUND 2 DIFFERENCES"));
        assert!(verdict(&Ok(Report::default())).contains("the audit agrees"));
        assert!(verdict(&Err("no server".to_owned())).contains("incomplete: no server"));
    }
}
