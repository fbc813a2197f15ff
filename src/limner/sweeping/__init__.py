"""`limner sweep`: many trainings of one recipe with other settings, on one machine or many, and a page about them."""
