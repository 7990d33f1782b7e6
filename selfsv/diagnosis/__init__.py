"""Quality of embeddings and clusters without a speaker label: figures for a person, which nothing is trained on."""
