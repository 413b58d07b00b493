document.getElementById("url").textContent = location.origin;
