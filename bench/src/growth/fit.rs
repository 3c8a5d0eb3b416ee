//! Least squares: what one more of something costs.

/// A straight line through measured points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// What it rises by for each unit of x.
    pub slope: f64,
    /// Where it begins, at x = 0.
    pub base: f64,
    /// Coefficient of determination R²: 1 if all points lie on it, 0 if a level
    /// line would do as well.
    pub r2: f64,
}

impl Fit {
    /// Through these points; `None` of fewer than two different x.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points
                .iter()
                .map(|point| of(point.0 - x, point.1 - y))
                .sum()
        };
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        // No number at all, of no points.
        if xx.is_nan() || xx <= 0.0 {
            return None;
        }
        let slope = xy / xx;
        Some(Self {
            slope,
            base: y - slope * x,
            r2: if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 },
        })
    }

    /// What it says of `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.base + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks slopes against lines that are known, and that there is none of a
    /// single x.
    #[test]
    fn known_lines() {
        assert_eq!(Fit::of(&[]), None);
        assert_eq!(Fit::of(&[(1.0, 2.0), (1.0, 3.0)]), None);
        let line = Fit::of(&[(0.0, 1.0), (10.0, 21.0), (100.0, 201.0)]).expect("a line");
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.base - 1.0).abs() < 1e-9);
        assert!((line.r2 - 1.0).abs() < 1e-9 && (line.at(5.0) - 11.0).abs() < 1e-9);
        // By hand: means 1 and 1; xx 2, xy 1, yy 2/3 … of (0,0), (1,2), (2,1).
        let line = Fit::of(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]).expect("a line");
        assert!((line.slope - 0.5).abs() < 1e-9 && (line.r2 - 0.25).abs() < 1e-9);
        let level = Fit::of(&[(0.0, 3.0), (1.0, 3.0)]).expect("a line");
        assert_eq!((level.slope, level.r2), (0.0, 1.0));
    }
}
