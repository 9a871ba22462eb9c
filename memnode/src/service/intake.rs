//! Values of a known size that are received straight into the memory where they will stay.

use memproto::error::{ApiError, ApiResult};
use memproto::key::check_key;

use super::blocks::{Placed, may_stay, too_large};
use super::{PutOptions, Service, Stored};
use crate::buffer::BlockBuffer;
use crate::store::{Content, Owner, Reservation};
use memproto::limits::OBJECT_SIZE_MAX;

/// Memory for a value that is being received: it is paid, and it is given back where this is dropped.
#[derive(Debug)]
pub struct Intake {
    key: Option<String>,
    options: PutOptions,
    reservation: Reservation,
    buffer: BlockBuffer,
}

impl Intake {
    /// Where the next bytes go.
    pub fn buffer(&mut self) -> &mut BlockBuffer {
        &mut self.buffer
    }
}

impl Service {
    /// Takes memory for a value that is to be set, or stored where there is no key. `None` where it may not stay here, or has no room and
    /// may go elsewhere: then it goes the way of [`set`](Self::set) and [`store`](Self::store).
    pub fn begin_intake(
        &self,
        key: Option<&str>,
        size: u64,
        options: &PutOptions,
    ) -> Option<ApiResult<Intake>> {
        let may_go_elsewhere = may_stay(&options.placement)?;
        if size > OBJECT_SIZE_MAX {
            return Some(Err(too_large(size)));
        }
        if let Some(Err(error)) = key.map(|key| check_key(key.as_bytes())) {
            return Some(Err(error));
        }
        let reservation = match self.store.reserve(Owner::Local, size) {
            Ok(reservation) => reservation,
            Err(_) if may_go_elsewhere => return None,
            Err(error) => return Some(Err(error)),
        };
        let intake = BlockBuffer::new(&self.config.files, size).map(|buffer| Intake {
            key: key.map(str::to_owned),
            options: options.clone(),
            reservation,
            buffer,
        });
        Some(intake)
    }

    /// Sets or stores a value that was received whole.
    ///
    /// # Errors
    /// `InvalidArgument` where bytes are missing, and as [`set`](Self::set) and [`store`](Self::store).
    pub async fn finish_intake(&self, intake: Intake) -> ApiResult<Stored> {
        self.counters.writes.increment();
        let Intake {
            key,
            options,
            reservation,
            buffer,
        } = intake;
        let missing = buffer.remaining();
        if missing > 0 {
            return Err(ApiError::invalid(format!(
                "the value ends {missing} bytes before its size"
            )));
        }
        let value = buffer.finish()?;
        let placed = Placed {
            id: self.store.new_id(key.as_deref()),
            size: value.len() as u64,
            content: Content::Block(self.block(value, &options), reservation),
        };
        match key {
            Some(key) => self.set_placed(&key, placed, options.strict, None).await,
            None => self.store_placed(placed, None),
        }
    }
}
