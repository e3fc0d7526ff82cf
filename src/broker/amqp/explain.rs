//! Adds context to an error: the operation that failed and how to fix it.

use super::error::{ACCESS_REFUSED, AmqpError};
use crate::broker::error::LinkError;

impl AmqpError {
    /// Adds the operation that failed.
    pub(super) fn while_doing(self, doing: &'static str) -> LinkError {
        self.explained(doing, String::new())
    }

    /// Adds the operation that failed and how to fix it.
    pub(super) fn explained(self, doing: &'static str, hint: String) -> LinkError {
        LinkError::Amqp {
            doing,
            error: self,
            hint,
        }
    }

    /// Adds the operation that failed and, if access was refused, the missing permission.
    pub(super) fn refused(self, doing: &'static str, permission: &str) -> LinkError {
        let is_missing = self.code() == Some(ACCESS_REFUSED);
        let hint = if is_missing {
            format!("; the user needs {permission}")
        } else {
            String::new()
        };
        self.explained(doing, hint)
    }
}
