//! The usual two places where a pipeline meets Candor: around the model call, and where somebody
//! asks how an output came about.
#![expect(
    clippy::duration_suboptimal_units,
    reason = "written as most people write it"
)]

use std::time::Duration;

use candor_client::{AuditTrail, Client, FingerprintFields};
use sha3::{Digest, Sha3_256};

type Result<T> = std::result::Result<T, candor_client::Error>;

async fn inference_with_audit(
    client: &Client,
    prompt: &str,
    model: &str,
    temperature: f32,
    system_prompt: &str,
) -> Result<String> {
    let fields = FingerprintFields {
        model_name: model.to_string(),
        model_version: "checkpoint-20260501".to_string(),
        prompt_hash: hex::encode(Sha3_256::digest(prompt.as_bytes())),
        temperature: temperature.to_string(),
        top_p: "1.0".to_string(),
        system_prompt_hash: hex::encode(Sha3_256::digest(system_prompt.as_bytes())),
        hardware_class: "a100-80gb".to_string(),
    };

    // Check cache with signature verification
    if let Some(verified_result) = client.get_verified(&fields).await? {
        return Ok(verified_result);
    }

    // Cache miss — run inference
    let output = call_llm(prompt, model, temperature, system_prompt).await?;

    // Store with attestation — triple PQ signatures + audit log entry
    client
        .set_attested(&fields, &output, Duration::from_secs(3600))
        .await?;

    Ok(output)
}

async fn compliance_report(client: &Client, fingerprint: &str) -> Result<AuditTrail> {
    client.auditlog(fingerprint).await
}

/// Stands for the call of a real model.
async fn call_llm(prompt: &str, model: &str, temperature: f32, system: &str) -> Result<String> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(format!(
        "{model} at {temperature}, told to be `{system}`, answers `{prompt}`"
    ))
}

#[tokio::main]
async fn main() -> Result<()> {
    let config = candor_client::find_config(None)?;
    let client = Client::from_config(&config)?;
    for _ in 0..2 {
        let answer =
            inference_with_audit(&client, "Capital of France?", "gpt-4-0613", 0.0, "brief").await?;
        println!("{answer}");
    }
    if let Some(fingerprint) = std::env::args().nth(1) {
        println!(
            "{} events",
            compliance_report(&client, &fingerprint)
                .await?
                .entries
                .len()
        );
    }
    Ok(())
}
