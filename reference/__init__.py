"""The configuration's reference for people and for editors, made of the schema and of the words of the example."""
