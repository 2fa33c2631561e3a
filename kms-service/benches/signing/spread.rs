//! The middle and the ends of what was measured.

use std::fmt;

/// Median, least and most of some values.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], min: values[0], max: values[values.len() - 1] }
    }

    /// Of the quotients of values that were measured one after the other.
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Self {
        Self::of(above.iter().zip(below).map(|(above, below)| above / below))
    }

    /// Of the differences of values that were measured one after the other.
    pub fn of_differences(more: &[f64], less: &[f64]) -> Self {
        Self::of(more.iter().zip(less).map(|(more, less)| more - less))
    }
}

/// The median, with as many digits as the formatter's precision says, and the range.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Self { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} - {max:.digits$})")
    }
}

/// The value that all but `hundredths` of a hundred do not exceed.
pub fn percentile(values: &mut [f64], hundredths: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * hundredths / 100]
}
