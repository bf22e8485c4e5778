"""Datasets: from folders of videos to stored recipes, and from those to people and to other trainers."""
