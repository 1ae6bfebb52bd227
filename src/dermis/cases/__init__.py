"""What a case is: the manifest, its checks, patient-safe splits, the synthetic skin, readers of public sets."""
