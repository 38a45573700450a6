//! Memory for what cannot report that there is none.

/// Whether there is plenty of memory. Some code of other libraries, and some of ours, ends the process if a small allocation
/// fails. A call that needs such code first asks this.
// Codes_SRS_C_LIBRARY_01_013
pub(crate) fn is_plenty() -> bool {
    const PLENTY: usize = 1 << 16;
    Vec::<u8>::new().try_reserve_exact(PLENTY).is_ok()
}
