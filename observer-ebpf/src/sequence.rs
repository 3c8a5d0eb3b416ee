//! What iterators write.

use aya_ebpf::helpers::generated::bpf_seq_write;

/// `struct bpf_iter_meta` of include/linux/bpf.h.
#[repr(C)]
pub struct Meta {
    seq: *mut aya_ebpf::bindings::seq_file,
    session_id: u64,
    seq_num: u64,
}

impl Meta {
    /// Which iteration it is.
    #[inline(always)]
    pub fn session(&self) -> u64 {
        self.session_id
    }
}

/// Writes a record to whoever reads the iterator. When the buffer is full the
/// kernel empties it and comes again for the same object.
#[inline(always)]
pub fn write<T>(meta: *const Meta, record: &T) {
    // SAFETY: the kernel's structure; a sequence file and initialized memory of the
    // given size.
    unsafe {
        bpf_seq_write(
            (*meta).seq,
            (&raw const *record).cast_mut().cast(),
            size_of::<T>() as u32,
        )
    };
}
