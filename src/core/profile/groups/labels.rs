//! The labels of a group's series, from its key.

use std::sync::Arc;

use super::super::config::TaskLabels;
use super::super::group::{Class, Key};
use super::super::{Context, OTHER, UNKNOWN, label_set};
use super::Groups;
use crate::series::LabelSet;
use crate::state::Symbol;

impl Groups {
    pub(super) fn group_labels(
        &self,
        at: u32,
        own: Option<(&'static str, &'static str)>,
        context: &Context<'_>,
    ) -> LabelSet {
        let labels = self.task_labels(at, context);
        let own = own.map(|(name, value)| (name, value.into()));
        self.labels(labels.into_iter().chain(own))
    }

    /// The labels for a group's key.
    pub(super) fn task_labels(
        &self,
        at: u32,
        context: &Context<'_>,
    ) -> Vec<(&'static str, Arc<str>)> {
        let shown = self.config.labels;
        let shown = [
            ("name", shown.name),
            ("queue", shown.queue),
            ("worker", shown.worker),
        ];
        let shown = shown.into_iter().filter(|(_, shown)| *shown);
        if self.overflow == Some(at) {
            return shown.map(|(label, _)| (label, OTHER.into())).collect();
        }
        let group = self.groups[at as usize].as_ref();
        self.key_labels(group.expect("an indexed group is there").key, context)
    }

    pub(super) fn key_labels(
        &self,
        key: Key,
        context: &Context<'_>,
    ) -> Vec<(&'static str, Arc<str>)> {
        let TaskLabels {
            name,
            queue,
            worker,
        } = self.config.labels;
        let shown = [("name", name), ("queue", queue), ("worker", worker)];
        let shown = shown.into_iter().filter(|(_, shown)| *shown);
        let text = |name: Option<Symbol>| name.map(|name| context.names.text(name));
        let labels = shown.filter_map(|(label, _)| {
            let text = match label {
                "name" => Some(text(key.name).unwrap_or_else(|| UNKNOWN.into())),
                "queue" if key.other_queues => Some(OTHER.into()),
                "queue" => {
                    Some(text(key.queue).unwrap_or_else(|| Arc::clone(&self.config.default_queue)))
                }
                _ => text(key.worker),
            };
            text.map(|text| (label, text))
        });
        labels.collect()
    }

    pub(super) fn labels(
        &self,
        labels: impl IntoIterator<Item = (&'static str, Arc<str>)>,
    ) -> LabelSet {
        label_set(self.broker.as_ref(), labels)
    }

    pub(super) fn class_labels(&self, at: u32, class: Class, context: &Context<'_>) -> LabelSet {
        let text = match class {
            Class::Named(class) => context.names.text(class),
            Class::Unknown => UNKNOWN.into(),
            Class::Other => OTHER.into(),
        };
        let labels = self.task_labels(at, context);
        self.labels(labels.into_iter().chain([("exception", text)]))
    }
}
