//! Compiles the `.proto` files without protoc.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=kapelle");
    let files = [
        "log",
        "task",
        "words",
        "lineage",
        "standing",
        "api",
        "deadletter",
        "registry",
        "audit",
        "policy",
        "schedule",
        "approval",
        "release",
    ]
    .map(|name| format!("kapelle/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("kapelle.bin"), descriptors.encode_to_vec())?;
    // Sorted maps, so that one value has one encoding.
    tonic_prost_build::configure().bytes(".kapelle.v1").btree_map(".kapelle.v1").compile_fds(descriptors)?;
    Ok(())
}
