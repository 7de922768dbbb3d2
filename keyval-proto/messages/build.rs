//! Compiles the messages without `protoc`: `protox` is a protobuf compiler in Rust.

use std::path::PathBuf;
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let (files, folders) = (["proto/network.proto"], ["proto"]);
    println!("cargo:rerun-if-changed=proto");

    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    let mut compiler = protox::Compiler::new(folders)?;
    compiler.include_imports(true).open_files(files)?;
    fs::write(&descriptors, compiler.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    config.skip_protoc_run().btree_map(["."]).bytes(["."]);
    prost_reflect_build::Builder::new()
        .file_descriptor_set_path(&descriptors)
        .descriptor_pool("crate::DESCRIPTORS")
        .compile_protos_with_config(config, &files, &folders)?;
    Ok(())
}
