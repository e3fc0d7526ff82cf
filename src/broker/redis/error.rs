//! Classifies errors of Redis and adds what was being done.

use redis::RedisError;

use crate::broker::error::LinkError;

/// Adds what was being done to an error.
pub(super) const fn failed(doing: &'static str, error: RedisError) -> LinkError {
    LinkError::Redis {
        doing,
        error,
        hint: String::new(),
    }
}

/// Whether the user lacks permission for a command.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Whether a command is unavailable: the user may not run it, or the server does not have it.
/// Proxies and managed servers leave some commands out, and `rename-command` hides them.
pub(super) fn is_unavailable(error: &RedisError) -> bool {
    is_forbidden(error) || error.code() == Some("ERR")
}

/// Adds what was being done to an error and, if a permission is missing, that permission.
pub(super) fn refused(doing: &'static str, error: RedisError, permission: &str) -> LinkError {
    let hint = if is_forbidden(&error) {
        format!("; the user needs {permission}")
    } else {
        String::new()
    };
    LinkError::Redis { doing, error, hint }
}
