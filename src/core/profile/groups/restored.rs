//! Groups of series that continue after a restart.
//!
//! The series of a group are restored one by one, and the group itself is created by its first
//! event or by a task in flight. It then adopts all of its series, since they end together.

use super::super::Context;
use super::super::group::{Class, Counter, CounterFamily, Distribution, InFlightStage, Key};
use super::Groups;
use crate::series::SeriesTable;

impl Groups {
    /// Sets the restored gauges of tasks in flight to 0; the tasks are added again afterwards.
    pub(in crate::profile) fn zero_restored(&self, series: &mut SeriesTable) {
        series.zero_restored(self.families.in_flight, |_| true);
    }

    /// Opens the group's remaining restored series. Otherwise they would end while the group
    /// continues.
    pub(super) fn open_restored(&mut self, at: u32, context: &mut Context<'_>) {
        for counter in Counter::ALL {
            if self.group_at(at, context.now).0.counters[counter as usize].is_none() {
                let (family, label) = counter.shown();
                let labels = self.group_labels(at, label, context);
                let family = self.families.counter(family);
                let id = context.series.open_restored(family, labels, None);
                self.group_at(at, context.now).0.counters[counter as usize] = id;
            }
        }
        for distribution in Distribution::ALL {
            let (family, label) = distribution.shown();
            let buckets = self.buckets(family, at, context);
            let labels = self.group_labels(at, label, context);
            let family = self.families.histogram(family);
            let id = context
                .series
                .open_restored(family, labels, buckets.as_ref());
            self.group_at(at, context.now).0.histograms[distribution as usize] = id;
        }
        for flight in InFlightStage::ALL {
            if self.group_at(at, context.now).0.in_flight[flight as usize].is_none() {
                let labels = self.group_labels(at, Some(("state", flight.name())), context);
                let family = self.families.in_flight;
                let id = context.series.open_restored(family, labels, None);
                if let Some(id) = id {
                    // Only needed if it has not been set to 0 before.
                    context.series.set(id, 0.0);
                }
                self.group_at(at, context.now).0.in_flight[flight as usize] = id;
            }
        }
    }

    /// Whether a group that does not exist yet already has room, because its series were restored.
    pub(super) fn is_restored(&self, key: Key, context: &mut Context<'_>) -> bool {
        if !context.series.has_restored() {
            return false;
        }
        [Counter::Received, Counter::Sent]
            .into_iter()
            .any(|counter| {
                let (family, _) = counter.shown();
                let labels = self.labels(self.key_labels(key, context));
                context
                    .series
                    .is_restored(self.families.counter(family), labels)
            })
    }

    /// Whether the series of an exception class was restored, and so has a place already.
    pub(super) fn has_class(
        &self,
        at: u32,
        family: CounterFamily,
        class: Class,
        context: &mut Context<'_>,
    ) -> bool {
        let labels = self.class_labels(at, class, context);
        context
            .series
            .is_restored(self.families.counter(family), labels)
    }
}
