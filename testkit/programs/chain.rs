//! `chain SECONDS`: the chain in Rust, called from a sort's comparison.

use std::hint::black_box;
use std::time::{Duration, Instant};

macro_rules! link {
    ($name:ident, $next:ident) => {
        #[inline(never)]
        fn $name(n: u64) -> u64 {
            let space = black_box([n; 5]);
            let result = $next(n + 1);
            black_box(&space);
            result.wrapping_mul(3) + n
        }
    };
}

link!(f01, f02);
link!(f02, f03);
link!(f03, f04);
link!(f04, f05);
link!(f05, f06);
link!(f06, f07);
link!(f07, f08);
link!(f08, f09);
link!(f09, f10);
link!(f10, f11);
link!(f11, f12);
link!(f12, f13);
link!(f13, f14);
link!(f14, f15);
link!(f15, f16);
link!(f16, f17);
link!(f17, f18);
link!(f18, f19);
link!(f19, f20);
link!(f20, leaf);

#[inline(never)]
fn leaf(n: u64) -> u64 {
    let mut sum = n;
    for i in 0..2000 {
        sum = black_box(sum.wrapping_add(i));
    }
    sum
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok());
    let wanted = Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let begin = Instant::now();
    while begin.elapsed() < wanted {
        let mut values: Vec<u64> = (0..16).map(|i| i * 7 % 16).collect();
        values.sort_by(|a, b| {
            black_box(f01(*a));
            a.cmp(b)
        });
        black_box(values);
    }
}
