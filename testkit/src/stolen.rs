//! CPU time that no thread got.

/// Time in interrupts and time that the hypervisor took, next to nothing on a
/// quiet machine. A task's CPU clock leaves both out where the kernel can, while
/// a timer ticks on in whoever was on the CPU, but late ticks become one.
pub struct Stolen(f64);

impl Stolen {
    /// From now on.
    ///
    /// # Panics
    /// Without `/proc/stat`.
    pub fn begin() -> Self {
        Self(Self::total())
    }

    /// Seconds since the beginning, on all CPUs.
    ///
    /// # Panics
    /// Without `/proc/stat`.
    pub fn seconds(&self) -> f64 {
        Self::total() - self.0
    }

    /// The columns irq, softirq, steal of proc_stat(5), in ticks of 10 ms.
    fn total() -> f64 {
        let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
        let cpu = stat.lines().next().expect("the sum of all CPUs");
        let columns = cpu.split_whitespace().skip(6).take(3);
        columns
            .map(|c| c.parse::<f64>().expect("ticks"))
            .sum::<f64>()
            / 100.0
    }
}
