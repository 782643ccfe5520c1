"""What a person looks at and works with while a run goes on."""
