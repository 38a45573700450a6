//! Allocation that can fail without ending the process.

pub(crate) use crate::room::Room;
pub use crate::room::try_box;
pub use crate::try_arc::{Reserved, TryArc};
