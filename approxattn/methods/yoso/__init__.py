"""YOSO: attention whose weights are probabilities that hash codes agree, sampled or exact."""
