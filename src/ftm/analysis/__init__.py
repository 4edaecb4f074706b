"""Looking at what a quarter holds: loaders, attrition, status."""
