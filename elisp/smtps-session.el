;;; smtps-session.el --- Type the SMTP dialogue by hand over TLS  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A comint buffer with the prompt `send> '.  The helper holds the
;; connection; what happens is shown above the prompt.  A typed line appears
;; there when the helper says that it has left, masked where it held a
;; secret: so order and masks have one author.

;;; Code:

(require 'comint)
(require 'smtps-base64)
(require 'smtps-helper)

(defvar smtps-accounts)

;;;; Customization

(defcustom smtps-session-maximum-lines 10000
  "Lines that a session buffer keeps; the oldest are dropped."
  :type 'natnum
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

(defface smtps-session-send '((t :inherit font-lock-keyword-face))
  "Face of lines that were sent."
  :group 'smtps)

(defface smtps-session-recv '((t :inherit default))
  "Face of lines of the server."
  :group 'smtps)

(defface smtps-session-success '((t :inherit success))
  "Face of replies that accept."
  :group 'smtps)

(defface smtps-session-refusal '((t :inherit error))
  "Face of replies that refuse."
  :group 'smtps)

(defface smtps-session-info '((t :inherit shadow))
  "Face of lines that tell about the connection."
  :group 'smtps)

;;;; State

(defconst smtps-session-prompt "send> "
  "What stands before the line that is typed.")

(defconst smtps-session--acknowledge-every 16
  "Events after which the helper is told that they were shown.")

(defvar smtps-session-history nil
  "Hosts that sessions were opened with.")

(defvar smtps-session--buffers nil
  "Alist: session number -> buffer.")

(defvar-local smtps-session--number nil
  "The helper's number of this session; nil when it is closed.")

(defvar-local smtps-session--opening nil
  "Non-nil until the helper has said which number this session has.")

(defvar-local smtps-session--arguments nil
  "The arguments this session was opened with, for opening it again.")

(defvar-local smtps-session--prompt-start nil
  "Marker before the prompt, where lines are inserted.")

(defvar-local smtps-session--secret nil
  "What a line typed now would be: `username', `password' and so on, or nil.")

(defvar-local smtps-session-state nil
  "Where the dialogue stands, a symbol.")

(defvar-local smtps-session--typed-ahead nil
  "Lines typed before the session had its number, last first.")

;;;; Mode

(defvar smtps-session-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'smtps-session-send-input)
    (define-key map (kbd "C-m") #'smtps-session-send-input)
    (define-key map (kbd "C-c C-b") #'smtps-session-send-base64)
    (define-key map (kbd "C-c C-c") #'smtps-session-hang-up)
    (define-key map (kbd "C-c C-d") #'smtps-session-quit)
    (define-key map (kbd "C-c C-z") #'ignore)
    (define-key map (kbd "C-c C-\\") #'ignore)
    (define-key map (kbd "g") #'smtps-session-reconnect-or-insert)
    map)
  "Keys of session buffers.")

(easy-menu-define smtps-session-menu smtps-session-mode-map
  "Menu of session buffers."
  '("Smtps"
    ["Send a text in base64" smtps-session-send-base64 smtps-session--number]
    ["Say quit" smtps-session-quit smtps-session--number]
    ["Hang up" smtps-session-hang-up smtps-session--number]
    ["Connect again" smtps-session-reconnect (not smtps-session--number)]))

(define-derived-mode smtps-session-mode comint-mode "SMTP"
  "Type the SMTP dialogue by hand.
A line goes to the server when you type RET, ended by CR LF; it appears
above the prompt when it has left.  Passwords are shown as
`<the-base64-password>'.

\\{smtps-session-mode-map}"
  ;; Nothing that a server sends may ask for a password, colour or move.
  (setq-local comint-output-filter-functions nil)
  (setq-local comint-preoutput-filter-functions nil)
  (setq-local comint-input-filter-functions nil)
  (setq-local comint-prompt-read-only nil)
  (setq-local comint-prompt-regexp "^send> ")
  (setq-local comint-inhibit-carriage-motion t)
  (setq-local scroll-conservatively 1000)
  (setq-local mode-line-process
              '(" " (:eval (symbol-name (or smtps-session-state 'closed)))))
  (setq-local smtps-session--prompt-start (point-max-marker))
  (set-marker-insertion-type smtps-session--prompt-start t)
  (add-hook 'kill-buffer-hook #'smtps-session--killed nil t)
  (add-hook 'after-change-functions #'smtps-session--hide nil t))

;;;; Public commands

(defun smtps-session--read ()
  "Read the arguments of `smtps-session'."
  (let ((host (completing-read
               "Host (or HOST:PORT): "
               (delete-dups
                (append (delq nil (mapcar (lambda (account) (plist-get (cdr account) :host))
                                          (bound-and-true-p smtps-accounts)))
                        smtps-session-history))
               nil nil nil 'smtps-session-history)))
    (list host (when current-prefix-arg (read-number "Port: " 465)))))

;;;###autoload
(defun smtps-session (host &optional port &rest properties)
  "Open a session with the server HOST at PORT: type SMTP by hand over TLS.
HOST may be HOST:PORT.  PORT is 465 by default, where TLS begins at once; at
587 the dialogue begins in clear, until you type starttls.  PROPERTIES are
`:tls', one of `implicit', `starttls', `none', and `:ca-file'; an account in
`smtps-accounts' with this host gives those that are missing.  With a prefix
argument, ask for the port.  Return the buffer."
  (interactive (smtps-session--read))
  (setq host (string-trim host))
  (when (string-match "\\`\\([^:]+\\):\\([0-9]+\\)\\'" host)
    (setq port (string-to-number (match-string 2 host))
          host (match-string 1 host)))
  (when (string= host "")
    (user-error "No host was given"))
  (let* ((account (cdr (seq-find (lambda (account)
                                   (equal (plist-get (cdr account) :host) host))
                                 (bound-and-true-p smtps-accounts))))
         (port (or port (plist-get account :port)))
         (arguments (list :host host :port port
                          :tls (or (plist-get properties :tls) (plist-get account :tls))
                          :ca-file (or (plist-get properties :ca-file)
                                       (plist-get account :ca-file))))
         (buffer (generate-new-buffer (format "*smtps %s:%s*" host (or port 465)))))
    (with-current-buffer buffer
      (smtps-session-mode)
      (setq smtps-session--arguments arguments)
      (smtps-session--open))
    (pop-to-buffer buffer)
    buffer))

(defun smtps-session-reconnect ()
  "Connect again to the server of this closed session."
  (interactive)
  (when (or smtps-session--number smtps-session--opening)
    (user-error "The session is still open; C-c C-c hangs up"))
  (smtps-session--open))

(defun smtps-session-reconnect-or-insert ()
  "In a closed session connect again, else insert the character typed."
  (interactive)
  (if (or smtps-session--number smtps-session--opening)
      (call-interactively #'self-insert-command)
    (smtps-session-reconnect)))

(defun smtps-session-send-input ()
  "Send what stands behind the prompt, each line by itself."
  (interactive)
  (smtps-session--assert-open)
  (let* ((start (process-mark (get-buffer-process (current-buffer))))
         (input (buffer-substring-no-properties start (point-max)))
         (secret smtps-session--secret))
    (goto-char (point-max))
    (delete-region start (point-max))
    ;; What was typed may be a secret: nothing of it stays where undo finds it.
    (setq buffer-undo-list nil)
    (unless (or secret (string= (string-trim input) ""))
      (comint-add-to-input-history input))
    (setq comint-input-ring-index nil)
    (dolist (line (split-string input "\n"))
      (smtps-session--send line))))

(defun smtps-session-send-base64 ()
  "Read a text in the minibuffer and send it in base64.
Where the server waits for a password it is read without being shown; where
it waits for AUTH PLAIN's string, user and password are read."
  (interactive)
  (smtps-session--assert-open)
  (let ((buffer (current-buffer))
        (line (pcase smtps-session--secret
                ('credentials
                 (let* ((user (read-string "User: "))
                        (password (read-passwd "Password: ")))
                   (prog1 (smtps-base64-auth-plain user password)
                     (clear-string password))))
                ((or 'password 'response)
                 (let ((password (read-passwd "Password: ")))
                   (prog1 (smtps-base64-encode-string password)
                     (clear-string password))))
                (_ (smtps-base64-encode-string (read-string "Text to send in base64: "))))))
    (clear-this-command-keys)
    (with-current-buffer buffer
      (smtps-session--send line))))

(defun smtps-session-quit ()
  "Say quit to the server."
  (interactive)
  (smtps-session--assert-open)
  (smtps-session--send "quit"))

(defun smtps-session-hang-up ()
  "Close the connection at once, without saying quit."
  (interactive)
  (smtps-session--assert-open)
  (when smtps-session--number
    (smtps-helper-call 'session-close (list :session smtps-session--number))))

;;;; Talking to the helper

(defun smtps-session--assert-open ()
  "Signal an error unless this session is open; what was typed stays."
  (unless (or smtps-session--number smtps-session--opening)
    (user-error "The session is closed; what you typed was not sent (g connects again)")))

(defun smtps-session--open ()
  "Open the session of this buffer."
  (smtps-helper-subscribe 'session #'smtps-session--event)
  (add-hook 'smtps-helper-death-functions #'smtps-session--helper-died)
  (unless (get-buffer-process (current-buffer))
    ;; comint wants a process; this one only holds the mark.
    (make-pipe-process :name "smtps-session" :buffer (current-buffer)
                       :noquery t :filter #'ignore :sentinel #'ignore))
  (smtps-session--show-prompt)
  (setq smtps-session-state 'opening
        smtps-session--opening t
        smtps-session--typed-ahead nil)
  (let ((buffer (current-buffer)))
    (smtps-helper-call
     'session-open smtps-session--arguments
     :then (lambda (value) (smtps-session--opened buffer (plist-get value :session)))
     :else (lambda (err)
             (when (buffer-live-p buffer)
               (with-current-buffer buffer
                 (smtps-session--closed (smtps-session--sentence err))))))))

(defun smtps-session--sentence (err)
  "Return the sentence in ERR, an error of the helper."
  (if (stringp (cadr err)) (cadr err) (error-message-string err)))

(defun smtps-session--opened (buffer number)
  "BUFFER's session has NUMBER."
  (if (not (buffer-live-p buffer))
      (smtps-helper-call 'session-close (list :session number))
    (push (cons number buffer) smtps-session--buffers)
    (with-current-buffer buffer
      (setq smtps-session--number number
            smtps-session--opening nil)
      (mapc #'smtps-session--send (nreverse smtps-session--typed-ahead))
      (setq smtps-session--typed-ahead nil))))

(defun smtps-session--send (line)
  "Send LINE; if that can't be done, put it back behind the prompt."
  (if (not smtps-session--number)
      (push line smtps-session--typed-ahead)
    (let ((buffer (current-buffer)))
      (smtps-helper-call
       'session-send (list :session smtps-session--number :line line)
       :else (lambda (err)
               (when (buffer-live-p buffer)
                 (with-current-buffer buffer
                   (unless smtps-session--secret
                     (save-excursion (goto-char (point-max)) (insert line)))
                   (smtps-session--insert (concat "! " (smtps-session--sentence err))
                                          'smtps-session-refusal))))))))

(defun smtps-session--killed ()
  "The buffer is being killed: hang up."
  (when smtps-session--number
    (setq smtps-session--buffers
          (assq-delete-all smtps-session--number smtps-session--buffers))
    (smtps-helper-call 'session-close (list :session smtps-session--number))))

(defun smtps-session--helper-died (sentence)
  "Tell in each open session SENTENCE, that the helper has died."
  (let ((open smtps-session--buffers))
    (setq smtps-session--buffers nil)
    (dolist (entry open)
      (when (buffer-live-p (cdr entry))
        (with-current-buffer (cdr entry)
          (smtps-session--closed sentence))))))

(defun smtps-session--event (plist)
  "Show the helper's event PLIST in its session's buffer."
  (let* ((number (plist-get plist :session))
         (seq (plist-get plist :seq))
         (buffer (alist-get number smtps-session--buffers)))
    (when (buffer-live-p buffer)
      (with-current-buffer buffer
        (smtps-session--show plist)))
    (when (zerop (% seq smtps-session--acknowledge-every))
      (smtps-helper-event 'session-ack (list :session number :seq seq)))))

(defun smtps-session--show (plist)
  "Show the event PLIST in this buffer."
  (let ((text (plist-get plist :text)))
    (pcase (plist-get plist :kind)
      ('info (smtps-session--insert text (if (string-prefix-p "! " text)
                                             'smtps-session-refusal
                                           'smtps-session-info)))
      ('send (smtps-session--insert (if (string= text "") "send>" (concat "send> " text))
                                    'smtps-session-send))
      ('recv
       (smtps-session--insert (concat "recv> " text)
                              (smtps-session--reply-face (plist-get plist :code)))
       (when (plist-get plist :decoded)
         (message "%s is “%s”" (substring text 4) (plist-get plist :decoded))))
      ('state
       (setq smtps-session-state (plist-get plist :state))
       (setq smtps-session--secret (plist-get plist :secret))
       (force-mode-line-update))
      ('closed
       (setq smtps-session--buffers
             (assq-delete-all smtps-session--number smtps-session--buffers))
       (unless (plist-get plist :error)
         (smtps-session--insert (concat "recv> " text) 'smtps-session-info))
       (smtps-session--closed (and (plist-get plist :error)
                                   (plist-get plist :message)))))))

(defun smtps-session--reply-face (code)
  "Return the face of a reply with CODE."
  (cond ((null code) 'smtps-session-recv)
        ((>= code 400) 'smtps-session-refusal)
        ((>= code 300) 'smtps-session-recv)
        (t 'smtps-session-success)))

(defun smtps-session--closed (sentence)
  "The session is closed: show SENTENCE if that is why, and take the prompt away."
  (setq smtps-session--number nil
        smtps-session--opening nil
        smtps-session--secret nil
        smtps-session-state 'closed)
  (when sentence
    (smtps-session--insert (concat "! " sentence) 'smtps-session-refusal))
  (smtps-session--insert "- The session is closed; g connects again" 'smtps-session-info)
  (smtps-session--hide-prompt)
  (force-mode-line-update))

;;;; The buffer

(defun smtps-session--mark ()
  "Return the mark behind the prompt."
  (process-mark (get-buffer-process (current-buffer))))

(defun smtps-session--show-prompt ()
  "Put the prompt at the end of the buffer."
  (let ((inhibit-read-only t) (buffer-undo-list t))
    (goto-char (point-max))
    (unless (bolp) (insert "\n"))
    (set-marker-insertion-type smtps-session--prompt-start nil)
    (set-marker smtps-session--prompt-start (point))
    (insert (propertize smtps-session-prompt
                        'face 'comint-highlight-prompt 'field 'prompt
                        'read-only t 'front-sticky '(read-only) 'rear-nonsticky t))
    (set-marker-insertion-type smtps-session--prompt-start t)
    (set-marker (smtps-session--mark) (point)))
  (setq buffer-undo-list nil))

(defun smtps-session--hide-prompt ()
  "Take the prompt away; a half-typed line stays."
  (let ((inhibit-read-only t) (buffer-undo-list t)
        (start (marker-position smtps-session--prompt-start))
        (end (marker-position (smtps-session--mark))))
    (when (< start end)
      (delete-region start end)))
  (setq buffer-undo-list nil))

(defun smtps-session--insert (text face)
  "Insert the line TEXT with FACE above the prompt; what is being typed stays."
  (let* ((at (marker-position smtps-session--prompt-start))
         (line (propertize (concat text "\n") 'face face 'font-lock-face face
                           'field 'output 'read-only t 'front-sticky '(read-only)
                           'rear-nonsticky t)))
    (let ((inhibit-read-only t) (buffer-undo-list t))
      (save-excursion
        (goto-char at)
        (insert line)))
    (setq buffer-undo-list
          (smtps-session--shifted buffer-undo-list at (length line))))
  (smtps-session--trim))

(defun smtps-session--shifted (undo at count)
  "Return the list UNDO after COUNT characters were inserted at AT."
  (let ((shift (lambda (position)
                 (cond ((not (integerp position)) position)
                       ((>= position at) (+ position count))
                       ((<= position (- at)) (- position count))
                       (t position)))))
    (if (listp undo)
        (delq 'drop
              (mapcar (lambda (entry)
                        (pcase entry
                          ((pred integerp) (funcall shift entry))
                          (`(,(and beg (pred integerp)) . ,(and end (pred integerp)))
                           (cons (funcall shift beg) (funcall shift end)))
                          (`(,(and text (pred stringp)) . ,position)
                           (cons text (funcall shift position)))
                          ((or 'nil `(t . ,_)) entry)
                          (_ 'drop)))
                      undo))
      undo)))

(defun smtps-session--trim ()
  "Drop the oldest lines beyond `smtps-session-maximum-lines', and say so."
  (let ((lines (count-lines (point-min) smtps-session--prompt-start)))
    (when (> lines (+ smtps-session-maximum-lines
                      (max 1 (/ smtps-session-maximum-lines 10))))
      (let ((inhibit-read-only t) (buffer-undo-list t))
        (save-excursion
          (goto-char (point-min))
          (forward-line (- lines smtps-session-maximum-lines))
          (delete-region (point-min) (point))
          (insert (propertize "- Older lines were dropped\n"
                              'face 'smtps-session-info 'read-only t))))
      (setq buffer-undo-list nil))))

(defun smtps-session--hide (beg end _old)
  "Show what is typed from BEG to END as dots if it is a secret."
  (when (and (memq smtps-session--secret '(password credentials response))
             (get-buffer-process (current-buffer))
             (>= beg (marker-position (smtps-session--mark))))
    (with-silent-modifications
      (while (< beg end)
        (put-text-property beg (1+ beg) 'display (string ?*))
        (setq beg (1+ beg))))))

(provide 'smtps-session)
;;; smtps-session.el ends here
