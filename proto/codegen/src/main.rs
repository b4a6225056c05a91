//! Writes `proto/src/generated` from the `.proto` files beside it: `cargo codegen`, from any folder
//! of the workspace. The output is checked in, so that nobody who builds Candor needs this tool or
//! protoc; `cargo codegen --check` fails when it is not current and writes nothing.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<()> {
    let check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument `{other}`; the only one is `--check`"),
    };
    let proto = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let checked_in = proto.join("src/generated");
    let fresh = env::temp_dir().join(format!("candor-codegen-{}", std::process::id()));
    generate(&proto, &fresh)?;
    let outcome = if check {
        compare(&fresh, &checked_in)
    } else {
        install(&fresh, &checked_in)
    };
    fs::remove_dir_all(&fresh)?;
    outcome
}

fn generate(proto: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let files = proto_files(&proto.join("candor"))?;
    let mut compiler = protox::Compiler::new([proto])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();
    fs::write(
        out.join("descriptor.bin"),
        without_comments(&descriptors).encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .out_dir(out)
        .include_file("mod.rs")
        .compile_fds(descriptors)
        .context("the Rust code could not be written")
}

/// All `.proto` files under a folder, sorted, so that the output depends on nothing else.
fn proto_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reflection shows no comments, and they are two thirds of the bytes.
fn without_comments(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    bare
}

fn install(fresh: &Path, checked_in: &Path) -> Result<()> {
    fs::create_dir_all(checked_in)?;
    for name in names(checked_in)? {
        fs::remove_file(checked_in.join(name))?;
    }
    for name in names(fresh)? {
        fs::copy(fresh.join(&name), checked_in.join(&name))?;
    }
    Ok(())
}

fn compare(fresh: &Path, checked_in: &Path) -> Result<()> {
    if names(fresh)? != names(checked_in)? {
        bail!(
            "{} has other files than a fresh run makes",
            checked_in.display()
        );
    }
    for name in names(fresh)? {
        if fs::read(fresh.join(&name))? != fs::read(checked_in.join(&name))? {
            bail!(
                "{} is not current; run `cargo codegen`",
                checked_in.join(&name).display()
            );
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
