//! Which program this is.

/// The crate's version, with `+` and a commit where the build was told of one: `LUNAPARK_COMMIT=$(git rev-parse HEAD) cargo
/// build --release`. It is a variable and no build script: a build outside of git is one like others, and one that is told
/// nothing new compiles nothing again.
pub fn code_version() -> String {
    named(option_env!("LUNAPARK_COMMIT"))
}

fn named(commit: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit.map(str::trim).filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version}+{commit}"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_told_apart_where_the_build_knows_them() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(named(Some("b83afd8\n")), format!("{version}+b83afd8"));
        assert_eq!((named(None).as_str(), named(Some("")).as_str()), (version, version));
    }
}
