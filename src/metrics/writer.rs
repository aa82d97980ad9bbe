//! Writes one metric after the other with the library.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::count::Tally;

/// The first bound of durations in microseconds: 64 us.
pub(super) const DURATION_POWER: usize = 6;

/// The output.
pub(super) struct MetricsWriter<'a>(pub(super) DescriptorEncoder<'a>);

/// No exemplar.
const NONE: Option<&prometheus_client::metrics::exemplar::Exemplar<NoLabelSet, f64>> = None;

impl MetricsWriter<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_of(name, help, None, value as f64)
    }

    pub(super) fn gauge_of(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: f64,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        let mut metric =
            self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        metric.encode_counter(&value, NONE)
    }

    /// A counter for each set of labels.
    pub(super) fn counters<S: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        series: impl Iterator<Item = (S, V)>,
    ) -> fmt::Result {
        let mut metric =
            self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_counter(&value, NONE)?;
        }
        Ok(())
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<S: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        series: impl Iterator<Item = (S, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&'static str, &'static str)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&labels)
    }

    /// `unit`: the number of the tally's units per unit of the metric. Bounds from this power of
    /// two on.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<(Unit, f64)>,
        power: usize,
        tally: &Tally,
    ) -> fmt::Result {
        let (unit, in_one) = match &unit {
            Some((unit, in_one)) => (Some(unit), *in_one),
            None => (None, 1.0),
        };
        let (bounds, larger) = tally.from_power(power);
        let mut buckets: Vec<_> =
            bounds.into_iter().map(|(bound, count)| (bound as f64 / in_one, count)).collect();
        buckets.push((f64::INFINITY, larger));
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(
            tally.sum as f64 / in_one,
            tally.count(),
            &buckets,
            None,
        )
    }
}
