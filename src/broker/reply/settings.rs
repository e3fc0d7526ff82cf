//! Parses a worker's settings, the reply to `conf`.

use super::{ITEMS_MAX, Settings, TransportOptions, flag, text, whole};
use crate::event::{DecodeError, Kind, Reader};

/// Reads the few settings that are needed. The others include passwords.
pub(super) fn read_settings<'a>(reader: &mut impl Reader<'a>) -> Result<Settings, DecodeError> {
    let mut settings = Settings::default();
    reader.map(|reader, key| {
        match key {
            b"worker_send_task_events" => settings.task_events = flag(reader)?,
            b"task_send_sent_event" => settings.sent_event = flag(reader)?,
            b"event_exchange" => settings.event_exchange = text(reader)?,
            b"broker_transport_options" if reader.kind() == Kind::Map => {
                settings.transport = Some(read_transport(reader)?);
            }
            _ => return reader.skip(2),
        }
        Ok(())
    })?;
    Ok(settings)
}

fn read_transport<'a>(reader: &mut impl Reader<'a>) -> Result<TransportOptions, DecodeError> {
    let mut options = TransportOptions::default();
    reader.map(|reader, key| {
        match key {
            b"sep" => options.sep = text(reader)?,
            b"priority_steps" if reader.kind() == Kind::List => {
                let mut steps = Vec::new();
                reader.list(|reader| {
                    let step = whole(reader)?;
                    steps.extend(step.filter(|_| steps.len() < ITEMS_MAX));
                    Ok(())
                })?;
                options.priority_steps = Some(steps);
            }
            b"ack_emulation" => options.ack_emulation = flag(reader)?,
            b"sentinel_fanout_compat" => options.sentinel_fanout_compat = flag(reader)?,
            _ => return reader.skip(3),
        }
        Ok(())
    })?;
    Ok(options)
}
