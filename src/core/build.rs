//! Compiles the schemas with `protox`, so that no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../proto");
    let schemas = protox::compile(
        [
            "../../proto/remote_write_v1.proto",
            "../../proto/remote_write_v2.proto",
            "../../proto/client_model.proto",
            "../../proto/checkpoint.proto",
        ],
        ["../../proto"],
    )?;
    prost_build::Config::new().compile_fds(schemas)?;
    Ok(())
}
