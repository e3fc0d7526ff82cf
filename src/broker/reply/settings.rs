//! Parses a worker's settings, the reply to `conf`.

use super::{ITEMS_MAX, Settings, TransportOptions, flag, text, whole};
use crate::event::DecodeError;
use crate::event::json::Cursor;

/// Reads the few settings that are needed. The others include passwords.
pub(super) fn read_settings(cursor: &mut Cursor<'_>) -> Result<Settings, DecodeError> {
    let mut settings = Settings::default();
    cursor.map(|cursor, key| {
        match key {
            b"worker_send_task_events" => settings.task_events = flag(cursor)?,
            b"task_send_sent_event" => settings.sent_event = flag(cursor)?,
            b"event_exchange" => settings.event_exchange = text(cursor)?,
            b"broker_transport_options" if cursor.peek() == Some(b'{') => {
                settings.transport = Some(read_transport(cursor)?);
            }
            _ => return cursor.skip(2),
        }
        Ok(())
    })?;
    Ok(settings)
}

fn read_transport(cursor: &mut Cursor<'_>) -> Result<TransportOptions, DecodeError> {
    let mut options = TransportOptions::default();
    cursor.map(|cursor, key| {
        match key {
            b"sep" => options.sep = text(cursor)?,
            b"priority_steps" if cursor.peek() == Some(b'[') => {
                let mut steps = Vec::new();
                cursor.list(|cursor| {
                    let step = whole(cursor)?;
                    steps.extend(step.filter(|_| steps.len() < ITEMS_MAX));
                    Ok(())
                })?;
                options.priority_steps = Some(steps);
            }
            b"ack_emulation" => options.ack_emulation = flag(cursor)?,
            b"sentinel_fanout_compat" => options.sentinel_fanout_compat = flag(cursor)?,
            _ => return cursor.skip(3),
        }
        Ok(())
    })?;
    Ok(options)
}
