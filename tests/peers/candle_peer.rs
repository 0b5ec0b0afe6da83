// SPDX-License-Identifier: Apache-2.0
//! Runs candle's recurrent_gemma on this CPU, as the runners of peer_runner.py do, and prints the same lines.
//!
//!   candle_peer MODEL IDS LOGITS TYPE PROMPTS STEPS RUNS SECONDS CHECK,MORE      (RAYON_NUM_THREADS is how many threads)
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::recurrent_gemma::{Config, Model};
use std::io::Write;
use std::time::Instant;

type Any = Box<dyn std::error::Error>;

fn numbers(text: &str) -> Result<Vec<usize>, Any> {
    Ok(text.split(',').map(|n| n.parse()).collect::<Result<_, _>>()?)
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    (x[(x.len() - 1) / 2] + x[x.len() / 2]) / 2.0
}

fn read(model: &mut Model, ids: &[u32], position: usize) -> Result<Tensor, Any> {
    Ok(model.forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, position)?)
}

fn write(file: &mut std::fs::File, logits: Tensor) -> Result<(), Any> {
    let row = logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    Ok(file.write_all(&row.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?)
}

fn main() -> Result<(), Any> {
    let args: Vec<String> = std::env::args().collect();
    let folder = std::path::Path::new(&args[1]);
    let ids = std::fs::read_to_string(&args[2])?.split_whitespace().map(|n| n.parse()).collect::<Result<Vec<u32>, _>>()?;
    let mut file = std::fs::File::create(&args[3])?;
    let dtype = if args[4] == "bf16" { DType::BF16 } else { DType::F32 };
    let (prompts, steps, runs, seconds) = (numbers(&args[5])?, args[6].parse::<usize>()?, args[7].parse::<usize>()?, args[8].parse::<f64>()?);
    let check = numbers(&args[9])?;

    let config: Config = serde_json::from_reader(std::fs::File::open(folder.join("config.json"))?)?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
    // The files do not change while they are mapped.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, dtype, &Device::Cpu)? };
    let fresh = Model::new(&config, weights.pp("model"))?; // a clone has the same weights and a state of its own

    let mut model = fresh.clone();
    write(&mut file, read(&mut model, &ids[..check[0]], 0)?)?;
    for i in check[0]..check[0] + check[1] {
        write(&mut file, read(&mut model, &ids[i..i + 1], i)?)?;
    }
    println!("{{\"what\": \"check\"}}");
    for &prompt in &prompts {
        let begin = Instant::now();
        let (mut rates, mut each) = (vec![], vec![]);
        while rates.is_empty() || (rates.len() < runs && begin.elapsed().as_secs_f64() < seconds) {
            let mut model = fresh.clone();
            let start = Instant::now();
            read(&mut model, &ids[..prompt], 0)?;
            rates.push(prompt as f64 / start.elapsed().as_secs_f64());
            if prompt != prompts[0] {
                continue;
            }
            for i in prompt..prompt + steps {
                let start = Instant::now();
                read(&mut model, &ids[i..i + 1], i)?;
                each.push(1.0 / start.elapsed().as_secs_f64());
                if begin.elapsed().as_secs_f64() > 2.0 * seconds {
                    break;
                }
            }
        }
        println!("{{\"what\": \"prefill\", \"tokens\": {prompt}, \"tokens_per_second\": {}, \"runs\": {}}}", median(rates.clone()), rates.len());
        if !each.is_empty() {
            println!("{{\"what\": \"decode\", \"tokens\": {prompt}, \"tokens_per_second\": {}, \"runs\": {}}}", median(each.clone()), each.len());
        }
    }
    Ok(())
}
