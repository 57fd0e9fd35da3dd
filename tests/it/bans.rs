//! Crates that must not come in, through any dependency.

#[test]
fn the_lock_file_has_none_of_the_banned_crates() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let deny = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    let banned = deny.lines().filter_map(|line| {
        let (_, rest) = line.split_once("crate = \"")?;
        rest.split_once('"').map(|(name, _)| name)
    });
    let mut count = 0;
    for name in banned {
        count += 1;
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name} is in Cargo.lock");
    }
    assert!(count >= 8, "deny.toml lists the bans");
}
