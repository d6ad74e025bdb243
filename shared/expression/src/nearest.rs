//! The nearest name: what somebody who made a typo probably meant.

/// The candidate that is nearest to `name`, if one is near enough to be worth suggesting.
///
/// ```
/// let steps = ["inventory", "review", "report"];
/// assert_eq!(kapelle_expression::nearest("reveiw", steps), Some("review"));
/// assert_eq!(kapelle_expression::nearest("banana", steps), None);
/// ```
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic in the length; nobody mistypes a name of 64 characters into one of 500.
    const CHARS_MAX: usize = 64;
    if name.len() > CHARS_MAX {
        return None;
    }
    let folded = name.to_lowercase().replace(['-', ' '], "_");
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= CHARS_MAX)
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_only() {
        assert_eq!(nearest("sign-off", ["sign_off", "score"]), Some("sign_off"));
        assert_eq!(nearest("Input", ["input", "index"]), Some("input"));
        assert_eq!(nearest("x", ["y", "input"]), Some("y"));
        assert_eq!(nearest("", ["input"]), None);
        assert_eq!(nearest(&"a".repeat(1_000), ["input"]), None);
    }
}
