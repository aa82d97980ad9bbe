//! The two formats of the metrics.

use std::fmt::Write;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, 0.0.4.
    Prometheus,
}

impl Format {
    /// The format that these values of `Accept` ask for.
    pub fn wanted<'a>(mut accept: impl Iterator<Item = &'a [u8]>) -> Self {
        let takes = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
            is_it
                && !parts.any(|parameter| {
                    let weight =
                        parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
                    weight.is_some_and(|weight| weight.parse() == Ok(0.0))
                })
        };
        let any = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|v| v.split(',').any(takes));
        if accept.any(any) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts the metrics to this format.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => to_prometheus(&open_metrics),
        }
    }
}

/// In the older format, a counter's type line has the name with `_total`, an info metric is a gauge
/// with the value 1, and there are no units and no end marker.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(words)) => help = Some((name, words)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                    let _ = writeln!(text, "# HELP {name}{suffix} {words}");
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_sent_when_accepted() {
        let wanted = |accept: &[&str]| Format::wanted(accept.iter().map(|value| value.as_bytes()));
        assert_eq!(wanted(&[]), Format::Prometheus);
        assert_eq!(wanted(&["*/*"]), Format::Prometheus);
        assert_eq!(wanted(&["text/plain;version=0.0.4;q=0.5"]), Format::Prometheus);
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.1";
        assert_eq!(wanted(&[prometheus]), Format::OpenMetrics);
        assert_eq!(wanted(&["text/plain", "Application/OpenMetrics-Text"]), Format::OpenMetrics);
        assert_eq!(wanted(&["application/openmetrics-text; q=0, */*"]), Format::Prometheus);
        assert_eq!(wanted(&["application/openmetrics-text; Q=0.000"]), Format::Prometheus);
    }

    #[test]
    fn prometheus_text_names_counters_with_their_suffix() {
        let open_metrics = "# HELP sold_units Units sold.\n# TYPE sold_units counter\n\
            # UNIT sold_units units\nsold_units_total{sale=\"a # b\"} 3\n\
            # HELP build What runs.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
            # HELP open How many.\n# TYPE open gauge\nopen 2\n# EOF\n";
        assert_eq!(
            to_prometheus(open_metrics),
            "# HELP sold_units_total Units sold.\n# TYPE sold_units_total counter\n\
             sold_units_total{sale=\"a # b\"} 3\n\
             # HELP build_info What runs.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
             # HELP open How many.\n# TYPE open gauge\nopen 2\n"
        );
    }
}
