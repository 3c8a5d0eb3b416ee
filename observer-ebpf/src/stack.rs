//! Stacks: captured, counted by what they are, and told of once.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_USER_STACK, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, RingBuf};
use aya_ebpf::helpers::generated::bpf_get_stack;
use aya_ebpf::macros::btf_map;
use observer_common::cpu::{
    COUNT_OFF_CPU, MAX_FRAMES, SAMPLE_ENTRIES, STACK_RING_BYTES, SampleKey, StackHash, StackHeader,
    shares,
};
use observer_common::cpython::WORDS;
use observer_common::loss::Loss;
use observer_common::offsets::MISSING;
use observer_common::ring::SharedRing;
use observer_common::unwind::Outcome;
use observer_common::workload::{WorkloadId, has_share_of_samples};

use crate::atomic::{add, fetch_add};
use crate::kernel::{offset, read};
use crate::loss::lost;
use crate::room;
use crate::scratch::{Context, FRAMES, Scratch, Walked, iterator_scratch, scratch_of};
use crate::shares::owner_of;
use crate::unwind::{cpython_ask, walk};

/// Counts of the even and the odd epochs.
#[btf_map]
static SAMPLES_0: HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }> = HashMap::new();
#[btf_map]
static SAMPLES_1: HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }> = HashMap::new();
/// Whose part of each is how large, see [`shares`]; mapped by the daemon.
#[btf_map]
static SAMPLE_SHARES: Array<[u64; shares::WORDS as usize], 2, { BPF_F_MMAPABLE as usize }> =
    Array::new();
/// Which of them is counted in; flipped by the daemon.
#[btf_map]
static SAMPLE_EPOCH: Array<u32, 1> = Array::new();
#[btf_map]
static STACK_RING: RingBuf<StackHeader, { STACK_RING_BYTES as usize }> = RingBuf::new();

/// Bytes that one half of a stack may take.
const HALF_BYTES: u32 = (MAX_FRAMES * 8) as u32;

/// Wake the daemon now, whatever it waits for / let it sleep.
const FORCE_WAKEUP: u64 = 2;
const NO_WAKEUP: u64 = 1;

/// Captures the current thread's stack into the scratch of `context`, and returns how many
/// kernel frames it has: what walking the user part came to, and the hashes, are there, too.
///
/// # Safety
///
/// `ctx` must be the program's context, `task` the current task.
#[inline(always)]
pub unsafe fn capture(
    ctx: *mut core::ffi::c_void,
    context: Context,
    scratch: &mut Scratch,
    task: *const u8,
    kernel_thread: bool,
) -> u32 {
    // SAFETY: the caller's promise.
    let kernel = unsafe { walk_by_kernel(ctx, scratch, 0, 0) };
    if kernel_thread {
        scratch.walked = Walked::only(0, Outcome::NoUser);
    } else if offset!(pt_regs_bp) == MISSING {
        scratch.walked = Walked::only(0, Outcome::NoTable);
    } else {
        walk(context, scratch, kernel, task);
    }
    if !kernel_thread
        && (offset!(pt_regs_bp) == MISSING || scratch.walked.outcome == Outcome::ForeignAbi as u32)
    {
        // SAFETY: the caller's promise.
        scratch.walked.user =
            unsafe { walk_by_kernel(ctx, scratch, kernel, BPF_F_USER_STACK as u64) };
    }
    stack_hash(context as u32, kernel);
    kernel
}

/// Has the kernel walk one half of the stack, by its own tables or by frame
/// pointers, behind the `before` frames that are already there; returns how
/// many frames it has.
///
/// # Safety
///
/// `ctx` must be the program's context.
#[inline(always)]
unsafe fn walk_by_kernel(
    ctx: *mut core::ffi::c_void,
    scratch: &mut Scratch,
    before: u32,
    flags: u64,
) -> u32 {
    let at = (before as usize) & MAX_FRAMES;
    // SAFETY: `at` is at most MAX_FRAMES, so HALF_BYTES fit behind it.
    let bytes = unsafe {
        let to = scratch.frames.as_mut_ptr().add(at);
        bpf_get_stack(ctx, to.cast(), HALF_BYTES, flags)
    };
    // Negative: there is no such half (a kernel thread has no user stack).
    if bytes <= 0 {
        0
    } else {
        (bytes as u32 / 8) & MAX_FRAMES as u32
    }
}

/// Hashes the stack in the scratch of a [`Context`] into the key of its record.
///
/// A function that is global to the verifier: it is checked once, not once for
/// each number of frames.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stack_hash(context: u32, kernel: u32) -> u32 {
    let Some(scratch) = scratch_of(context) else {
        return 0;
    };
    // SAFETY: a map value that only this context uses.
    let scratch = unsafe { &mut *scratch };
    hash_into_key(scratch, kernel);
    let Walked { user, python, .. } = scratch.walked;
    if python != 0 {
        stack_hash_python(context, kernel + user, python * WORDS as u32);
    }
    0
}

/// Adds `count` words from the `from`th on to the hash.
///
/// Likewise, and of its own since it is checked for each number of words, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stack_hash_python(context: u32, from: u32, count: u32) -> u32 {
    if let Some(scratch) = scratch_of(context) {
        // SAFETY: a map value that only this context uses.
        let scratch = unsafe { &mut *scratch };
        let python = hash::<{ WORDS * MAX_FRAMES }>(scratch, from, count);
        let (hash, check) = python.finish();
        let key = &mut scratch.header.key;
        let whole = StackHash::of(key.hash, key.check).join(StackHash::of(hash, check));
        (key.hash, key.check) = whole.finish();
    }
    0
}

/// The same for [`Context::Iterator`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stack_hash_copied(kernel: u32) -> u32 {
    if let Some(scratch) = iterator_scratch() {
        // SAFETY: a map value that only this context uses.
        hash_into_key(unsafe { &mut *scratch }, kernel);
    }
    0
}

#[inline(always)]
fn hash_into_key(scratch: &mut Scratch, kernel: u32) {
    let user = scratch.walked.user;
    let native =
        hash::<MAX_FRAMES>(scratch, 0, kernel).join(hash::<MAX_FRAMES>(scratch, kernel, user));
    let (hash, check) = native.finish();
    scratch.header.key.hash = hash;
    scratch.header.key.check = check;
}

/// Hash of `count` words from the `from`th on.
#[inline(always)]
fn hash<const MOST: usize>(scratch: &Scratch, from: u32, count: u32) -> StackHash {
    let mut hash = StackHash::new();
    for i in 0..MOST {
        if i as u32 >= count {
            break;
        }
        hash = hash.add(scratch.frames[(from as usize + i) & (FRAMES - 1)]);
    }
    hash
}

/// Adds to the count of a key; `scratch` has the frames, if the daemon is to be
/// told of them. The key names the thread, so no other CPU is at it.
#[inline(always)]
pub fn count(scratch: &mut Scratch, task: *const u8, key: &SampleKey, value: u64) -> bool {
    count_with(key, value, |epoch| {
        name(scratch, task);
        send(scratch, key, epoch)
    })
}

/// Adds to the count of the key of the scratch's record. Where it `tell`s the
/// daemon of the stack, [`name`] was called already.
#[inline(always)]
pub fn count_record(scratch: &mut Scratch, value: u64, tell: bool) -> bool {
    let key: *const SampleKey = &raw const scratch.header.key;
    // SAFETY: a map value; telling leaves the key as it is.
    count_with(unsafe { &*key }, value, |epoch| {
        !tell || send_record(scratch, epoch)
    })
}

/// Whether time off CPU is counted already, or still.
#[inline(always)]
pub fn counts_off_cpu() -> bool {
    SAMPLE_EPOCH.get(0).copied().unwrap_or(0) & COUNT_OFF_CPU != 0
}

/// `tell` is called for a key that is new in this epoch, and says whether that
/// worked. False if the value is lost.
#[inline(always)]
fn count_with(key: &SampleKey, value: u64, tell: impl FnOnce(u32) -> bool) -> bool {
    let epoch = SAMPLE_EPOCH.get(0).copied().unwrap_or(0) & 1;
    if epoch == 0 {
        count_in(&SAMPLES_0, 0, key, value, tell)
    } else {
        count_in(&SAMPLES_1, 1, key, value, tell)
    }
}

#[inline(always)]
fn count_in(
    samples: &HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }>,
    epoch: u32,
    key: &SampleKey,
    value: u64,
    tell: impl FnOnce(u32) -> bool,
) -> bool {
    if let Some(count) = samples.get_ptr_mut(key) {
        add(count, value);
        return true;
    }
    if stack_room(epoch, key.workload.0, CHARGE) == 0 {
        lost(Loss::SampleTableFull);
        return false;
    }
    let why = if samples.insert(key, &value, BPF_NOEXIST as u64).is_err() {
        Loss::SampleTableFull
    } else if tell(epoch) {
        return true;
    } else {
        let _ = samples.remove(key);
        Loss::StackRingFull
    };
    stack_room(epoch, key.workload.0, GIVE_BACK);
    lost(why);
    false
}

/// [`stack_room`]: an entry is taken.
const CHARGE: u32 = 0;
/// [`stack_room`]: one that was taken is given back.
const GIVE_BACK: u32 = 1;

/// Charges an entry of a table of counts to the tenant of a workload; 0, and nothing is charged, if it has had
/// its share. Or gives one back.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stack_room(table: u32, workload: u32, what: u32) -> u32 {
    let Some(words) = SAMPLE_SHARES.get_ptr_mut(table) else {
        return 0;
    };
    let Some(tenant) = owner_of(WorkloadId(workload)) else {
        return 0;
    };
    let words = words.cast::<u64>();
    let tenant = tenant as usize;
    // SAFETY: all are within the map's value; read and added to at once.
    unsafe {
        let all = words.add(shares::ALL as usize);
        let of_tenant = words.add(shares::HELD as usize + tenant);
        if what == CHARGE {
            let limit = words.add(shares::LIMIT as usize).read_volatile();
            let free = limit.saturating_sub(fetch_add(all, 1));
            if has_share_of_samples(fetch_add(of_tenant, 1), free, limit) {
                return 1;
            }
            add(words.add(shares::REFUSED as usize + tenant), 1);
        }
        add(all, u64::MAX);
        add(of_tenant, u64::MAX);
    }
    0
}

/// Puts the names of a thread and of its process into the record to be.
#[inline(always)]
pub fn name(scratch: &mut Scratch, task: *const u8) {
    let thread = read!(task, task_comm, [u64; 2]);
    let leader = read!(task, task_group_leader, *const u8);
    let process = read!(leader, task_comm, [u64; 2]);
    // SAFETY: all are 16 bytes.
    unsafe {
        scratch.header.thread = core::mem::transmute::<[u64; 2], [u8; 16]>(thread);
        scratch.header.process = core::mem::transmute::<[u64; 2], [u8; 16]>(process);
    }
}

/// Tells the daemon what the key means.
#[inline(always)]
fn send(scratch: &mut Scratch, key: &SampleKey, epoch: u32) -> bool {
    scratch.header.key = *key;
    send_record(scratch, epoch) && {
        tell_of_code(key, Context::Interrupt);
        true
    }
}

/// Asks for the names of the code of a stack that is new.
#[inline(always)]
pub fn tell_of_code(key: &SampleKey, context: Context) {
    if key.python_frames != 0 {
        let before = u32::from(key.kernel_frames) + u32::from(key.user_frames);
        cpython_ask(context as u32, before, u32::from(key.python_frames));
    }
}

#[inline(always)]
fn send_record(scratch: &mut Scratch, epoch: u32) -> bool {
    scratch.header.epoch = epoch;
    scratch.header.padding = 0;
    let key = &scratch.header.key;
    let user = u32::from(key.user_frames) + WORDS as u32 * u32::from(key.python_frames);
    let frames = (u32::from(key.kernel_frames) + user) & (FRAMES as u32 - 1);
    let bytes = size_of::<StackHeader>() as u64 + u64::from(frames) * 8;
    let whose = key.workload;
    let ring = (&raw const STACK_RING).cast_mut().cast();
    // The daemon reads at each interval; it is only woken early when the ring
    // fills up.
    let flags = |waiting| {
        if waiting > u64::from(STACK_RING_BYTES / 2) {
            FORCE_WAKEUP
        } else {
            NO_WAKEUP
        }
    };
    // SAFETY: the ring is a map, and `bytes` of the scratch are initialized
    // map memory.
    unsafe {
        let record = (&raw const *scratch).cast();
        room::send(SharedRing::Stacks, ring, whose, record, bytes, flags)
    }
}
