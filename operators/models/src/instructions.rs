//! Which instruction set scores: the fastest that the machine has, or the one that the environment names.

use crate::ModelError;

/// Names an instruction set (`avx512`, `avx2`, `neon`, `portable`) in the place of the fastest one, for tests and
/// measurements. It is read when a model is loaded.
const VARIABLE: &str = "LUNAPARK_KERNEL";

/// What the environment names.
pub(crate) fn wanted() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// The wanted one of those that the machine has, the fastest first; `name` names them.
pub(crate) fn chosen<S: Copy>(available: &[S], name: impl Fn(S) -> &'static str) -> Result<S, ModelError> {
    choose(available, name, wanted().as_deref())
}

fn choose<S: Copy>(available: &[S], name: impl Fn(S) -> &'static str, wanted: Option<&str>) -> Result<S, ModelError> {
    let fits = |set: &&S| wanted.is_none_or(|wanted| wanted == name(**set));
    available.iter().find(fits).copied().ok_or_else(|| {
        let names: Vec<_> = available.iter().map(|&set| name(set)).collect();
        let what = format!("{VARIABLE} is {:?}", wanted.unwrap_or_default());
        ModelError::unsupported(what, format!("unset it, or give one that this machine has: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counts_unless_another_is_named() {
        let choose = |wanted| choose(&["avx2", "portable"], |name| name, wanted);
        assert_eq!(choose(None).unwrap(), "avx2");
        assert_eq!(choose(Some("portable")).unwrap(), "portable");
        let error = choose(Some("avx512")).unwrap_err().to_string();
        assert!(error.contains("LUNAPARK_KERNEL is \"avx512\"") && error.contains("avx2, portable"), "{error}");
    }
}
