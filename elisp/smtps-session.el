;;; smtps-session.el --- Type the SMTP dialogue by hand over TLS  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A comint buffer with the prompt `send> '.  The helper holds the
;; connection; what happens is shown above the prompt.  A typed line appears
;; there when the helper says that it has left, masked where it held a
;; secret: so order and masks have one author.
;;
;; What was typed and has not left yet is pending.  The server's questions
;; tell what the next line is (`smtps-session--due'): a password is hidden
;; while it is typed, and is kept in no history and no undo list.

;;; Code:

(require 'comint)
(require 'seq)
(require 'subr-x)
(require 'smtps)
(require 'smtps-base64)
(require 'smtps-credentials)
(require 'smtps-helper)
(require 'smtps-option)
(require 'smtps-session-look)
(require 'smtps-session-steps)
(require 'smtps-wire)

(defvar smtps-explain-at-point-function)
(declare-function smtps-explain-eldoc "smtps-explain" (&rest _))
(declare-function smtps-explain-help-echo "smtps-explain" (window object position))
(declare-function smtps-explain-session-line "smtps-explain" ())
(declare-function smtps-trust-ask "smtps-trust" (server))
(declare-function smtps-trust-accept "smtps-trust")
(autoload 'smtps-session-complete "smtps-session-complete")
(autoload 'smtps-session-tab "smtps-session-complete" nil t)
(autoload 'smtps-session-greet "smtps-session-lead" nil t)
(autoload 'smtps-session-start-tls "smtps-session-lead" nil t)
(autoload 'smtps-session-log-in "smtps-session-lead" nil t)
(autoload 'smtps-session-send-message "smtps-session-lead" nil t)
(autoload 'smtps-session-send-transaction "smtps-session-lead" nil t)
(autoload 'smtps-session-reset "smtps-session-lead" nil t)
(autoload 'smtps-session-verify "smtps-session-lead" nil t)
(autoload 'smtps-session-save "smtps-session-keep" nil t)
(autoload 'smtps-session-copy-as "smtps-session-share" nil t)

;;;; Customization

(defcustom smtps-session-maximum-lines 10000
  "Lines that a session buffer keeps; the oldest are dropped."
  :type 'natnum
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

;;;; State

(defconst smtps-session-prompt "send> "
  "What stands before the line that is typed.")

(defconst smtps-session--acknowledge-every 16
  "Events after which the helper is told that they were shown.
It stops reading a server when 64 were not.")

(defconst smtps-session--given-at-once 64
  "Lines that the helper is given before it has said that one has left.
What is pasted may be long, and what the helper has can't be taken back.")

(defvar smtps-session-history nil
  "Hosts that sessions were opened with.")

(defvar smtps-session--buffers nil
  "Alist: session number -> buffer, of the sessions that are open.")

(defvar-local smtps-session-state nil
  "Where the dialogue stands, a symbol; `closed' when there is no connection.")

(defvar-local smtps-session--number nil
  "The helper's number of this session; nil when it is closed.")

(defvar-local smtps-session--opening nil
  "Non-nil until the helper has said which number this session has.
An object of its own for each time that the session is opened.")

(defvar-local smtps-session--begun-function nil
  "Called once when the helper has begun this session for the first time.")

(defvar-local smtps-session--hung-up nil
  "Non-nil if it was we who closed the connection.")

(defvar-local smtps-session--arguments nil
  "The arguments this session was opened with, for opening it again.")

(defvar-local smtps-session--began nil
  "Where and when the connection was begun that was the last: (MARKER . TIME).")

(defvar-local smtps-session-event-functions nil
  "Functions called with each event of the helper when it has been shown.
Its argument is a plist, as the helper tells it.")

(defvar-local smtps-session--prompt-start nil
  "Marker before the prompt, where lines are inserted.")

(defvar-local smtps-session--line-count 0
  "Lines above the prompt, or more.")

(defvar-local smtps-session--dropped 0
  "Lines that were dropped at the top of the buffer.")

(defvar-local smtps-session--pending nil
  "What was typed and has not left yet, the first first.
A list of (LINE DUE GIVEN).  DUE is what LINE was typed as, see
`smtps-session--due'.  GIVEN is non-nil once the helper has it; then LINE is
nil if DUE is not, so that no secret is kept.")

(defvar-local smtps-session--asked nil
  "What the server waits for: `username', `password', `credentials', `response'.")

(defvar-local smtps-session--answered 0
  "How many lines were typed since the server asked for that.")

(defvar-local smtps-session--owed 0
  "How many replies the server owes.")

(defvar-local smtps-session--data nil
  "Non-nil while DATA is open.")

(defconst smtps-session--told-limit 100
  "Lines about the connection that are kept for whom they help to decide.
Each thing that a server does wrong is told, and it may do many.")

(defvar-local smtps-session--told nil
  "What was told about the connection since it was opened, the last first.")

(defvar-local smtps-session-offers nil
  "What the server offers, as strings: its keywords with their parameters.")

(defvar-local smtps-session-tls nil
  "The version of TLS, a string; nil in clear.")

(defvar-local smtps-session-mechanism nil
  "The mechanism by which somebody is logged in, a string, or nil.")

(defvar-local smtps-session-user nil
  "Who was logged in here by `smtps-session-log-in'.")

(defvar-local smtps-session-stands-hook nil
  "Functions called in a session's buffer whenever it stands otherwise.")

(defvar-local smtps-session--refused nil
  "The server whose certificate was refused and may be trusted, or nil.
A plist as `smtps-trust-ask' takes it.")

(defun smtps-session--due ()
  "Return what a line typed now is: a symbol as in `smtps-session--asked', or nil.
AUTH LOGIN asks for two things in turn, the others for one."
  (if (memq smtps-session--asked '(username password))
      (nth smtps-session--answered (memq smtps-session--asked '(username password)))
    (and (= smtps-session--answered 0) smtps-session--asked)))

(defun smtps-session--hidden-p ()
  "Return non-nil if what is typed now is not to be seen."
  (memq (smtps-session--due) '(password credentials response)))

(defun smtps-session--open-p ()
  "Return non-nil if this session is open, or is being opened."
  (or smtps-session--number smtps-session--opening))

(defun smtps-session--assert-open ()
  "Signal an error unless this session is open; what was typed stays."
  ;; It may have ended just now.  A new helper would not know us.
  (when (and smtps-session--number (not (smtps-helper-live-p)))
    (smtps-session--closed "The smtps helper has ended" t))
  (unless (smtps-session--open-p)
    (user-error (if (< (smtps-session--mark) (point-max))
                    "The session is closed; what you typed was not sent (g connects again)"
                  "The session is closed (g connects again)"))))

;;;; Mode

(defvar smtps-session-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'smtps-session-send-input)
    (define-key map (kbd "TAB") #'smtps-session-tab)
    (define-key map (kbd "C-c C-b") #'smtps-session-send-base64)
    (define-key map (kbd "C-c C-y") #'smtps-base64-decode-at-point)
    (define-key map (kbd "C-c C-e") #'smtps-session-greet)
    (define-key map (kbd "C-c C-s") #'smtps-session-start-tls)
    (define-key map (kbd "C-c C-a") #'smtps-session-log-in)
    (define-key map (kbd "C-c C-f") #'smtps-session-send-message)
    (define-key map (kbd "C-c C-t") #'smtps-session-send-transaction)
    (define-key map (kbd "C-c C-r") #'smtps-session-reset)
    (define-key map (kbd "C-c C-v") #'smtps-session-verify)
    (define-key map (kbd "C-c C-c") #'smtps-session-hang-up)
    (define-key map (kbd "C-c C-d") #'smtps-session-quit)
    (define-key map (kbd "C-c C-u") #'smtps-session-kill-input)
    (define-key map (kbd "C-c C-j") #'imenu)
    (define-key map (kbd "C-c :") #'smtps-session-toggle-times)
    (define-key map (kbd "C-c ;") #'smtps-session-toggle-octets)
    (define-key map (kbd "C-x C-w") #'smtps-session-save)
    (define-key map (kbd "C-c C-w") #'smtps-session-copy-as)
    ;; comint's would signal, stop or end a process that is only a mark.
    (define-key map (kbd "C-d") #'delete-char)
    (define-key map (kbd "C-c C-z") #'ignore)
    (define-key map (kbd "C-c C-\\") #'ignore)
    (define-key map (kbd "C-c C-o") #'ignore)
    (define-key map [menu-bar signals] #'undefined)
    (define-key map [menu-bar completion] #'undefined)
    (define-key map [menu-bar inout delete-output] #'undefined)
    map)
  "Keys of session buffers.")

(defconst smtps-session--typing-seconds 0.3
  "Seconds between two letters that belong to one line being typed.")

(defvar-local smtps-session--typed-at 0
  "When a letter was typed here last, in seconds since the epoch.")

(defun smtps-session--unless-typing (command)
  "Return COMMAND, or one that does nothing if a line is being typed.
The session may have been closed in the middle of it."
  (if (and (not executing-kbd-macro)
           (< (- (float-time) smtps-session--typed-at) smtps-session--typing-seconds))
      #'smtps-session-ignore-letter
    command))

(defun smtps-session-ignore-letter ()
  "Do nothing with what is typed, since the session is closed."
  (interactive)
  (setq smtps-session--typed-at (float-time))
  (undefined))

(defun smtps-session--letter (command)
  "Return the binding of a letter to COMMAND, see `smtps-session--unless-typing'."
  (list 'menu-item "" command :filter #'smtps-session--unless-typing))

(defvar smtps-session-closed-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map smtps-session-mode-map)
    (suppress-keymap map)
    (define-key map [remap self-insert-command] #'smtps-session-ignore-letter)
    (define-key map (kbd "g") (smtps-session--letter #'smtps-session-reconnect))
    (define-key map (kbd "q") (smtps-session--letter #'quit-window))
    (define-key map (kbd "t") (smtps-session--letter #'smtps-session-trust))
    (define-key map (kbd "SPC") #'scroll-up-command)
    (define-key map (kbd "S-SPC") #'scroll-down-command)
    (define-key map (kbd "DEL") #'scroll-down-command)
    map)
  "Keys of session buffers whose connection is closed.")

(easy-menu-define smtps-session-menu smtps-session-mode-map
  "Menu of session buffers."
  '("Session"
    ["Send what is typed" smtps-session-send-input
     :active (smtps-session--open-p)
     :help "Send each line behind the prompt, ended by CR LF"]
    ["Send a text in base64..." smtps-session-send-base64
     :active (smtps-session--open-p)
     :help "Read a text or a password and send it in base64"]
    ["Show the text of base64 at point" smtps-base64-decode-at-point]
    ["Explain this line" smtps-explain
     :help "Tell what a reply or a command means, and who can mend it"]
    "--"
    ["Times" smtps-session-toggle-times
     :style toggle :selected smtps-session-look--times
     :help "Show how long each reply took, and when each command left"]
    ["Octets" smtps-session-toggle-octets
     :style toggle :selected smtps-session-look--octets
     :help "Show line ends, and what is not ASCII"]
    ["Fold by step" outline-minor-mode
     :style toggle :selected (bound-and-true-p outline-minor-mode)
     :help "Let Outline fold what is between the steps"]
    ["Go to a step..." imenu :help "Greeting, EHLO, login, each transaction"]
    "--"
    ["Save the transcript..." smtps-session-save
     :help "Write the dialogue into a file, its secrets masked"]
    ["Replay a transcript..." smtps-session-replay
     :help "Say again what was said in a session that was saved"]
    ["Copy as a command..." smtps-session-copy-as
     :help "Put a command for swaks, openssl or smtps into the kill ring"]
    ["Report..." smtps-session-report
     :help "Show the transcript and versions, fit to be published"]
    "--"
    ["Greet" smtps-session-greet :active (smtps-session--open-p)
     :help "Say EHLO"]
    ["Start TLS" smtps-session-start-tls
     :active (and (smtps-session--open-p) (not smtps-session-tls))
     :help "Say EHLO, STARTTLS, and EHLO again under TLS"]
    ["Log in" smtps-session-log-in
     :active (and (smtps-session--open-p) (not smtps-session-mechanism))
     :help "Log in; user and password are there before the first line leaves"]
    ["Send a message..." smtps-session-send-message
     :active (or smtps-session--data (eq smtps-session-state 'rcpt))
     :help "Send a buffer's message behind the envelope that you typed"]
    ["Send a mail..." smtps-session-send-transaction
     :active (smtps-session--open-p)
     :help "Send a buffer's mail: MAIL, RCPT, DATA and all"]
    ["Ask about a recipient..." smtps-session-verify
     :active (smtps-session--open-p)
     :help "MAIL, RCPT, and RSET: no mail is sent"]
    ["Reset" smtps-session-reset :active (smtps-session--open-p)]
    "--"
    ["Say quit" smtps-session-quit :active (smtps-session--open-p)]
    ["Hang up" smtps-session-hang-up :active (smtps-session--open-p)
     :help "Close the connection without saying quit"]
    ["Connect again" smtps-session-reconnect
     :active (not (smtps-session--open-p))]
    ["Trust the server..." smtps-session-trust
     :active smtps-session--refused
     :help "Show the certificate that was refused, and ask whether to trust it"]))

(define-derived-mode smtps-session-mode comint-mode "SMTP"
  "Type the SMTP dialogue by hand.
\\<smtps-session-mode-map>\
A line goes to the server when you type \\[smtps-session-send-input], ended by CR LF; it appears
above the prompt when it has left.  Lines typed ahead wait for the
replies before them.  A password is hidden while you type it, and shown
as `<the-base64-password>' afterwards.

When the connection is closed the buffer can be read only:
\\<smtps-session-closed-map>\\[smtps-session-reconnect] connects again, with what was not sent behind the new prompt,
and \\[quit-window] puts the buffer away.  Where the server's certificate was refused,
\\[smtps-session-trust] shows it and asks whether to trust it.

\\{smtps-session-mode-map}"
  :interactive nil
  ;; Nothing that a server sends may ask for a password, colour or move.
  (setq-local comint-output-filter-functions nil)
  (setq-local comint-preoutput-filter-functions nil)
  (setq-local comint-input-filter-functions nil)
  (setq-local comint-inhibit-carriage-motion t)
  ;; No file names are completed here.
  (setq-local comint-dynamic-complete-functions nil)
  (setq-local completion-at-point-functions (list #'smtps-session-complete))
  (setq-local completion-ignore-case t)
  (setq-local comint-get-old-input #'smtps-session--old-input)
  (setq-local comint-prompt-read-only nil)
  (setq-local comint-prompt-regexp "^send> ")
  (setq-local comint-scroll-to-bottom-on-input 'this)
  (setq-local scroll-conservatively 1000)
  (setq-local mode-line-process '((:eval (smtps-session--mode-line))))
  (add-hook 'eldoc-documentation-functions #'smtps-explain-eldoc nil t)
  (setq-local smtps-explain-at-point-function #'smtps-explain-session-line)
  (smtps-session-look--set-up)
  (smtps-session-steps--set-up)
  (setq smtps-session--prompt-start (point-max-marker))
  (set-marker-insertion-type smtps-session--prompt-start t)
  (add-hook 'kill-buffer-hook #'smtps-session--killed nil t)
  (add-hook 'after-change-functions #'smtps-session--hide nil t)
  (add-function :filter-return (local 'filter-buffer-substring-function)
                #'smtps-session--without-hidden))

(defun smtps-session--mode-line ()
  "Return a text for the mode line: where this session stands."
  (concat " "
          (cond (smtps-session--data "DATA")
                ((smtps-session--due) (format "%s?" (smtps-session--due)))
                (t (symbol-name (or smtps-session-state 'closed))))
          (if (and smtps-session--number (> smtps-session--owed 0)) "..." "")))

;;;; Opening

(defun smtps-session--hosts ()
  "Return the hosts of the accounts, as one may type them."
  (delq nil
        (mapcar (lambda (account)
                  (let ((host (plist-get (cdr account) :host))
                        (port (plist-get (cdr account) :port)))
                    (and host
                         (if (memq port '(nil 465)) host (format "%s:%s" host port)))))
                (ignore-error smtps-account-error (smtps-known-accounts)))))

(defun smtps-session--read ()
  "Read the arguments of `smtps-session'."
  (list (completing-read "Host (or HOST:PORT): "
                         (delete-dups
                          (append (smtps-session--hosts) smtps-session-history))
                         nil nil nil 'smtps-session-history)
        (when current-prefix-arg (read-number "Port: " 465))))

(defun smtps-session--split (text)
  "Return TEXT, which is HOST, HOST:PORT or [V6]:PORT, as (HOST . PORT).
PORT is nil where none is given."
  (setq text (string-trim text))
  (let* ((port (and (string-match "\\`\\(?:[^:]*\\|\\[.*]\\):\\([^]:]*\\)\\'" text)
                    (match-string 1 text)))
         (host (if port (substring text 0 (- -1 (length port))) text)))
    (when (string-match "\\`\\[\\(.*\\)]\\'" host)
      (setq host (match-string 1 host)))
    (cond ((string= host "")
           (user-error "No host was given"))
          ;; Only an address of IPv6 has colons.
          ((and (string-search ":" host)
                (not (string-match-p "\\`[0-9a-fA-F:.]+\\(?:%.*\\)?\\'" host)))
           (user-error "“%s” is no host" host)))
    (cons host (and port (smtps-session--port port)))))

(defun smtps-session--port (port)
  "Return PORT, a number or the text of one, as a number; refuse any other."
  (let ((number (cond ((integerp port) port)
                      ((string-match-p "\\`[0-9]\\{1,5\\}\\'" port)
                       (string-to-number port)))))
    (unless (and number (< 0 number 65536))
      (user-error "“%s” is no port: ports are numbers from 1 to 65535" port))
    number))

(defun smtps-session--account (host port tls)
  "Return the account for a session with HOST, whole, or nil.
Where PORT or TLS is not nil, it must be the account's."
  (condition-case err
      (seq-find (lambda (account)
                  (and (memql port (list nil (plist-get account :port)))
                       (memq tls (list nil (plist-get account :tls)))))
                (mapcar (lambda (entry)
                          (smtps--check-account (car entry) (cdr entry)))
                        (seq-filter (lambda (entry)
                                      (equal (plist-get (cdr entry) :host) host))
                                    (smtps-known-accounts))))
    (smtps-account-error (user-error "%s" (cadr err)))))

(defun smtps-session--plan (host port properties)
  "Return the helper's arguments for a session with HOST at PORT.
PROPERTIES are as in `smtps-session'."
  (pcase-let* ((`(,host . ,typed) (smtps-session--split host))
               (port (if port (smtps-session--port port) typed))
               (tls (plist-get properties :tls))
               (account (smtps-session--account host port tls))
               (ca-file (or (plist-get properties :ca-file)
                            (plist-get account :ca-file))))
    (append
     (list :host host
           :port (or port (plist-get account :port)
                     (alist-get tls smtps--ports 465))
           :tls (or tls (plist-get account :tls))
           :ca-file (and ca-file (expand-file-name ca-file)))
     (seq-mapcat (lambda (key)
                   (let ((value (plist-get account key)))
                     (and value (list key value))))
                 '(:client-certificate :client-key :send-in-clear)))))

;;;###autoload
(defun smtps-session (host &optional port &rest properties)
  "Open a session with the server HOST at PORT: type SMTP by hand over TLS.
HOST may be HOST:PORT.  PORT is 465 by default, where TLS begins at once; at
587 the dialogue begins in clear, until you type starttls.  PROPERTIES are
`:tls', one of `implicit', `starttls', `none', and `:ca-file'; an account in
`smtps-accounts' with this host gives those that are missing.  With a prefix
argument, ask for the port.

Each call makes a buffer of its own, which is shown and returned; what goes
wrong is told in it.  Signal `user-error' if HOST is none."
  (interactive (smtps-session--read))
  (smtps-session-open (smtps-session--plan host port properties)))

(defun smtps-session-open (arguments &optional function)
  "Open a session with ARGUMENTS, the helper's; show its buffer and return that.
FUNCTION is called in it, without arguments, once the helper has begun it."
  (condition-case problem
      (smtps-option 'smtps-session-maximum-lines)
    (smtps-option-error (user-error "%s" (cadr problem))))
  (let ((buffer (generate-new-buffer
                 (format "*smtps %s:%s*" (plist-get arguments :host)
                         (plist-get arguments :port)))))
    (with-current-buffer buffer
      (smtps-session-mode)
      (setq smtps-session--arguments arguments
            smtps-session--begun-function function)
      (smtps-credentials-fetch-passphrase arguments)
      (smtps-session--open))
    (pop-to-buffer buffer)
    buffer))

(defun smtps-session-reconnect ()
  "Connect again to the server of this closed session.
What was not sent stands behind the new prompt."
  (interactive)
  (unless (derived-mode-p 'smtps-session-mode)
    (user-error "This is not a session buffer"))
  (when (smtps-session--open-p)
    (user-error "The session is still open; C-c C-c hangs up"))
  (smtps-credentials-fetch-passphrase smtps-session--arguments)
  (smtps-session--open))

(defun smtps-session-trust ()
  "Show the certificate that was refused, and ask whether to trust its key.
If so, connect again."
  (interactive)
  (let ((server smtps-session--refused)
        (buffer (current-buffer)))
    (unless server
      (user-error "No certificate that could be trusted was refused here"))
    (when (smtps-session--open-p)
      (user-error "The session is open"))
    (require 'smtps-trust)
    (let ((how (condition-case err
                   (smtps-trust-ask server)
                 (smtps-error (user-error "%s" (cadr err))))))
      (if (not how)
          (message "Rejected: nothing is sent to %s" (plist-get server :host))
        (smtps-trust-accept
         server how
         :then (lambda ()
                 (when (buffer-live-p buffer)
                   (with-current-buffer buffer
                     (unless (smtps-session--open-p)
                       (smtps-session--open)))))
         :else (lambda (err)
                 (when (buffer-live-p buffer)
                   (with-current-buffer buffer
                     (smtps-session--insert
                      (concat "! " (smtps-session--sentence err))
                      'smtps-session-refusal)))))))))

(defun smtps-session--open ()
  "Open the session of this buffer."
  (smtps-credentials-serve)
  (smtps-helper-subscribe 'session #'smtps-session--event)
  (add-hook 'smtps-helper-death-functions #'smtps-session--helper-died)
  (unless (get-buffer-process (current-buffer))
    ;; comint wants a process; this one only holds the mark.
    (make-pipe-process :name "smtps-session" :buffer (current-buffer)
                       :noquery t :filter #'ignore :sentinel #'ignore))
  (smtps-session--forget 'opening)
  (setq smtps-session--opening (list 'opening)
        smtps-session--told nil
        smtps-session--refused nil
        smtps-session--hung-up nil
        smtps-session--began (cons (copy-marker smtps-session--prompt-start)
                                   (current-time))
        buffer-read-only nil)
  (smtps-session-look--begin)
  (use-local-map smtps-session-mode-map)
  (smtps-session--show-prompt)
  (goto-char (point-max))
  (let ((buffer (current-buffer))
        (opening smtps-session--opening))
    (smtps-helper-call
     'session-open smtps-session--arguments
     :then (lambda (value)
             (smtps-session--opened buffer opening (plist-get value :session)))
     :else (lambda (err)
             (when (smtps-session--opening-p buffer opening)
               (with-current-buffer buffer
                 (smtps-session--closed (smtps-session--sentence err))))))))

(defun smtps-session--sentence (err)
  "Return the sentence in ERR, an error of the helper."
  (if (stringp (cadr err)) (cadr err) (error-message-string err)))

(defun smtps-session--opening-p (buffer opening)
  "Return non-nil if BUFFER still waits for the session OPENING to be open."
  (and (buffer-live-p buffer)
       (eq opening (buffer-local-value 'smtps-session--opening buffer))))

(defun smtps-session--opened (buffer opening number)
  "BUFFER's session OPENING is open and has NUMBER."
  (if (not (smtps-session--opening-p buffer opening))
      (smtps-helper-call 'session-close (list :session number))
    (push (cons number buffer) smtps-session--buffers)
    (with-current-buffer buffer
      (setq smtps-session--number number
            smtps-session--opening nil)
      (smtps-session--give-next)
      (when smtps-session--begun-function
        (funcall (prog1 smtps-session--begun-function
                   (setq smtps-session--begun-function nil)))))))

;;;; Sending

(defun smtps-session--lines (input)
  "Return the lines of INPUT; the line break at its end is RET's."
  (mapcar (lambda (line) (string-remove-suffix "\r" line))
          (split-string (string-remove-suffix "\n" input) "\n")))

(defun smtps-session-send-input ()
  "Send what stands behind the prompt, each line by itself."
  (interactive)
  (smtps-session--assert-open)
  (let ((lines (smtps-session--lines
                (buffer-substring-no-properties (smtps-session--mark) (point-max)))))
    (mapc #'smtps-session--assert-sendable lines)
    (smtps-session--erase-input)
    (goto-char (point-max))
    (set-marker comint-last-input-start smtps-session--prompt-start)
    (set-marker comint-last-input-end smtps-session--prompt-start)
    (smtps-session--type lines)))

(defun smtps-session--assert-sendable (line)
  "Signal an error if LINE can't be given to the helper."
  (condition-case err
      (smtps-wire-print (list 'call most-positive-fixnum 'session-send
                              (list :session most-positive-fixnum :line line)))
    (smtps-wire-error
     (user-error "%s; nothing was sent" (smtps-session--sentence err)))))

(defun smtps-session--type (lines)
  "Have LINES sent, in their order and behind those that are pending."
  (let (entries)
    (dolist (line lines)
      ;; Nothing, or a * that cancels, is no secret.
      (push (list line (and (not (member line '("" "*"))) (smtps-session--due)) nil)
            entries)
      (setq smtps-session--answered (1+ smtps-session--answered)))
    (setq smtps-session--pending (nconc smtps-session--pending (nreverse entries))))
  (smtps-session--give-next)
  (force-mode-line-update))

(defun smtps-session--give-next ()
  "Give the helper what is pending, as much as it is to hold at once."
  (when smtps-session--number
    (dolist (entry (seq-take smtps-session--pending smtps-session--given-at-once))
      (unless (nth 2 entry)
        (smtps-session--give entry)))))

(defun smtps-session--give (entry)
  "Give the helper the line of ENTRY, which is pending."
  (let ((buffer (current-buffer))
        (line (car entry)))
    (setf (nth 2 entry) t)
    (when (cadr entry)
      (setf (car entry) nil))
    (smtps-helper-call
     'session-send (list :session smtps-session--number :line line)
     ;; Its reply may be hours away, behind those typed before it.
     :timeout 'none
     :else (lambda (err)
             (when (buffer-live-p buffer)
               (with-current-buffer buffer
                 (smtps-session--not-taken entry err)))))))

(defun smtps-session--not-taken (entry err)
  "The helper did not take ENTRY: ERR.  Give it and all behind it back.
A helper that died may have taken it."
  (let ((refused (memq entry smtps-session--pending)))
    (cond
     ((eq (car err) 'smtps-helper-dead)
      (smtps-session--closed (smtps-session--sentence err) t))
     (refused
      (setq smtps-session--pending
            (butlast smtps-session--pending (length refused)))
      (smtps-session--insert (concat "! " (smtps-session--sentence err))
                             'smtps-session-refusal)
      (smtps-session--give-back refused)))))

(defun smtps-session--left (text secret)
  "A line has left, shown as TEXT; return what to show for it.
SECRET is non-nil if TEXT is masked.  Any other line goes to the history."
  (let ((entry (or (seq-find (lambda (entry) (equal (car entry) text))
                             smtps-session--pending)
                   (car smtps-session--pending))))
    (setq smtps-session--pending (cdr (memq entry smtps-session--pending)))
    (smtps-session--give-next)
    (cond
     (secret text)
     ((null entry) text)
     ;; The server gave up waiting just when the secret was on its way.
     ((cadr entry)
      (format "<typed as the %s, which was no longer asked for>" (cadr entry)))
     (t (comint-add-to-input-history (car entry))
        text))))

(defun smtps-session-send-base64 ()
  "Read a text in the minibuffer and send it in base64.
Where the server waits for a password it is read without being shown; where
it waits for AUTH PLAIN's string, user and password are read.  If meanwhile
the server has given up waiting for them, nothing is sent."
  (interactive)
  (smtps-session--assert-open)
  (let* ((buffer (current-buffer))
         (due (smtps-session--due))
         (line (smtps-base64-door t (smtps-session--read-base64 due))))
    (unless (buffer-live-p buffer)
      (user-error "The session's buffer is gone; nothing was sent"))
    (with-current-buffer buffer
      (smtps-session--assert-open)
      (unless (eq due (smtps-session--due))
        (user-error "The server no longer waits for the %s; nothing was sent"
                    (or due "text")))
      (smtps-session--type (list line)))))

(defun smtps-session--read-base64 (due)
  "Read in the minibuffer what DUE asks for, and return its base64."
  (let ((secret (lambda (prompt encode)
                  (let ((password (smtps-credentials-read prompt)))
                    (unwind-protect (funcall encode password)
                      (clear-string password))))))
    (pcase due
      ('credentials
       (let ((user (read-string "User: ")))
         (funcall secret "Password: "
                  (lambda (password) (smtps-base64-auth-plain user password)))))
      ('password (funcall secret "Password: " #'smtps-base64-encode-string))
      ('response (funcall secret "Response: " #'smtps-base64-encode-string))
      ('username (smtps-base64-encode-string (read-string "User: ")))
      ;; No history: it may be a secret all the same.
      (_ (smtps-base64-encode-string (read-string "Text to send in base64: " nil t))))))

(defun smtps-session-quit ()
  "Say quit to the server."
  (interactive)
  (smtps-session--assert-open)
  (cond
   (smtps-session--data
    (user-error "DATA is open: a line with only a dot ends the message, C-c C-c hangs up"))
   ((smtps-session--due)
    (user-error "The server waits for the %s: a line with only a * cancels the login"
                (smtps-session--due)))
   (t (smtps-session--type '("quit")))))

(defun smtps-session-hang-up ()
  "Stop waiting for the server: close the connection without saying quit.
If nothing is waited for, ask first."
  (interactive)
  (smtps-session--assert-open)
  (when (or smtps-session--opening
            (> smtps-session--owed 0)
            (memq smtps-session-state '(opening greeting handshake closing))
            (y-or-n-p "Nothing is waited for; hang up without saying quit? "))
    (setq smtps-session--hung-up t)
    (if smtps-session--number
        (smtps-helper-call 'session-close (list :session smtps-session--number))
      (smtps-session--closed nil))))

(defun smtps-session-kill-input ()
  "Kill what stands behind the prompt; if it is hidden, without a copy."
  (interactive)
  (if (smtps-session--secret-typed-p)
      (smtps-session--erase-input)
    (comint-kill-input)))

(defun smtps-session--killed ()
  "The buffer is being killed: hang up."
  (when smtps-session--number
    (setf (alist-get smtps-session--number smtps-session--buffers nil t) nil)
    (when (smtps-helper-live-p)
      (smtps-helper-call 'session-close (list :session smtps-session--number)))))

;;;; What the helper tells

(defun smtps-session--event (plist)
  "Show the helper's event PLIST in its session's buffer."
  (let* ((number (plist-get plist :session))
         (seq (plist-get plist :seq))
         (buffer (alist-get number smtps-session--buffers)))
    (unwind-protect
        (when (buffer-live-p buffer)
          (with-current-buffer buffer
            (smtps-session--show plist)
            (run-hook-with-args 'smtps-session-event-functions plist)))
      (when (zerop (% seq smtps-session--acknowledge-every))
        (smtps-helper-event 'session-ack (list :session number :seq seq))))))

(defun smtps-session--show (plist)
  "Show the event PLIST in this buffer."
  (let ((text (plist-get plist :text)))
    (pcase (plist-get plist :kind)
      ('info
       (setq smtps-session--told
             (seq-take (cons text smtps-session--told) smtps-session--told-limit))
       ;; What follows a login or STARTTLS that came to nothing may be secret.
       (when (plist-get plist :unsent)
         (setq smtps-session--pending nil))
       (smtps-session--insert text (smtps-session-look--info-face text)
                              (smtps-session--step plist)))
      ('send (let ((shown (if (plist-get plist :led) text
                            (smtps-session--left text (plist-get plist :secret)))))
               (smtps-session--insert
                (if (string= shown "") "send>" (concat "send> " shown))
                'smtps-session-send
                (append (list 'smtps-session-line (if (plist-get plist :secret) t shown))
                        (smtps-session--explained plist))
                (list (smtps-session-look--sent plist) nil))))
      ('recv (smtps-session--show-reply text (plist-get plist :code)
                                        (plist-get plist :decoded)
                                        (smtps-session--explained plist)
                                        (list (smtps-session-look--received plist)
                                              (plist-get plist :bare))))
      ('offers (setq smtps-session-offers (plist-get plist :offers)))
      ('state (smtps-session--stands plist))
      ('closed
       (unless (or (plist-get plist :error) smtps-session--hung-up)
         (smtps-session--insert (concat "recv> " text) 'smtps-session-info))
       (when (plist-get plist :key)
         (setq smtps-session--refused
               (list :host (plist-get smtps-session--arguments :host)
                     :port (plist-get smtps-session--arguments :port)
                     :key (plist-get plist :key)
                     :text (plist-get plist :message)
                     :lines (reverse smtps-session--told))))
       (smtps-session--closed (and (plist-get plist :error)
                                   (plist-get plist :message)))))))

(defun smtps-session--explained (plist)
  "Return text properties that tell of the line of the event PLIST."
  (append (list 'smtps-explain-step (plist-get plist :verb)
                'help-echo #'smtps-explain-help-echo
                'smtps-session-at (plist-get plist :at))
          (smtps-session--step plist)))

(defun smtps-session--step (plist)
  "Return text properties that tell which step the event PLIST begins."
  (let ((step (smtps-session-steps--of (plist-get plist :kind) (plist-get plist :verb)
                                       (plist-get plist :text))))
    (and step (list 'smtps-session-step step))))

(defun smtps-session--show-reply (text code decoded properties wire)
  "Show the server's line TEXT, with CODE; DECODED is the text of a 334.
PROPERTIES are those of the line's text, WIRE as in `smtps-session--insert'."
  (when (and code (>= code 400) (smtps-session--login-p))
    ;; The helper sends nothing that was typed ahead for a login that failed.
    (setq smtps-session--pending nil))
  (smtps-session--insert (concat "recv> " text) (smtps-session-look--reply-face code)
                         ;; Of two the first holds.
                         (append (and decoded
                                      (list 'help-echo (format "In clear: %s" decoded)))
                                 properties)
                         wire)
  (when (and decoded
             (not (string= decoded ""))
             ;; One that nothing asked for may be one of very many.
             (plist-get properties 'smtps-explain-step)
             (get-buffer-window nil 'visible)
             (not (active-minibuffer-window)))
    (message "%s is “%s”" text decoded)))

(defun smtps-session--login-p ()
  "Return non-nil while a login is under way."
  (or smtps-session--asked (eq smtps-session-state 'authenticating)))

(defun smtps-session--stands (plist)
  "Note where the dialogue stands: PLIST."
  (let ((due (smtps-session--due))
        (hidden (smtps-session--hidden-p)))
    (setq smtps-session-state (plist-get plist :state)
          smtps-session--owed (or (plist-get plist :owed) 0)
          smtps-session--data (plist-get plist :data)
          smtps-session-tls (plist-get plist :tls)
          smtps-session-mechanism (plist-get plist :mechanism))
    ;; While a reply is owed the helper can't know what it will ask for.
    (when (or (= smtps-session--owed 0) (null smtps-session--asked))
      (setq smtps-session--asked (plist-get plist :secret)
            smtps-session--answered (length smtps-session--pending)))
    (run-hooks 'smtps-session-stands-hook)
    (cond ((and due (not (smtps-session--due)))
           (smtps-session--erase-secret due))
          ((not (eq hidden (smtps-session--hidden-p)))
           (smtps-session--hide (smtps-session--mark) (point-max) 0)))
    (smtps-session--colour-prompt)
    (force-mode-line-update)))

(defun smtps-session--erase-secret (due)
  "Erase what is half typed, as DUE, for a login that is over.
Sent as a command it would be seen by everybody."
  ;; Undo may know what was erased by hand, and would show it.
  (setq buffer-undo-list nil)
  (when (< (smtps-session--mark) (point-max))
    (smtps-session--erase-input)
    (smtps-session--insert
     (format "! The server no longer waits for the %s: what you had typed was erased, not sent."
             due)
     'smtps-session-refusal)))

(defun smtps-session--helper-died (sentence)
  "Tell in each open session SENTENCE, that the helper has died."
  (dolist (buffer (mapcar #'cdr smtps-session--buffers))
    (when (buffer-live-p buffer)
      (with-current-buffer buffer
        (smtps-session--closed sentence t))))
  (setq smtps-session--buffers nil))

(defun smtps-session--closed (sentence &optional doubtful)
  "The session is closed: show SENTENCE if that is why, and take the prompt away.
What was typed and not sent stays below, but for what may be a secret.  If
DOUBTFUL, what the helper was given may have been sent."
  (when (smtps-session--open-p)
    (let* ((due (smtps-session--due))
           (pending smtps-session--pending)
           (given (if doubtful (seq-count (lambda (entry) (nth 2 entry)) pending) 0)))
      (setf (alist-get smtps-session--number smtps-session--buffers nil t) nil)
      (smtps-session--forget 'closed)
      (cond (sentence
             (smtps-session--insert (concat "! " sentence) 'smtps-session-refusal))
            (smtps-session--hung-up
             (smtps-session--insert "- You have hung up" 'smtps-session-info)))
      (when due
        (smtps-session--erase-secret due))
      (smtps-session--give-back pending (> given 0))
      (when (> given 0)
        (smtps-session--insert
         (format "! The helper had taken %d typed line%s, and may have sent %s."
                 given (if (= given 1) "" "s") (if (= given 1) "it" "them"))
         'smtps-session-refusal))
      (when smtps-session--refused
        (smtps-session--insert
         "- t shows the certificate, and asks whether to trust its key all the same"
         'smtps-session-info))
      (smtps-session--insert
       (cond ((= (smtps-session--mark) (point-max))
              "- The session is closed; g connects again")
             ((> given 0)
              "- The session is closed; what follows is kept when g connects again")
             (t
              "- The session is closed; what follows was not sent, g connects again and keeps it"))
       'smtps-session-info)
      (smtps-session--hide-prompt)
      (use-local-map smtps-session-closed-map)
      (setq buffer-read-only t)
      (force-mode-line-update))))

(defun smtps-session--forget (state)
  "Forget the dialogue that was; that of STATE begins."
  (setq smtps-session-state state
        smtps-session--number nil
        smtps-session--opening nil
        smtps-session--pending nil
        smtps-session--asked nil
        smtps-session--answered 0
        smtps-session--owed 0
        smtps-session--data nil
        smtps-session-offers nil
        smtps-session-tls nil
        smtps-session-mechanism nil
        smtps-session-user nil))

(defun smtps-session--not-secret (entries)
  "Return the first of ENTRIES, up to one that is or may be a secret.
Behind AUTH come secrets, even before the server has asked for them."
  (let (kept)
    (while (and entries
                (caar entries)
                (not (cadar entries))
                (not (string-match-p "\\`[ \t]*auth\\b" (downcase (caar entries)))))
      (push (pop entries) kept))
    (nreverse kept)))

;;;; The buffer

(defmacro smtps-session--quietly (&rest body)
  "Do BODY, a change of the buffer, with no trace in the undo list."
  (declare (indent 0) (debug t))
  `(let ((inhibit-read-only t) (buffer-undo-list t))
     ,@body))

(defun smtps-session--mark ()
  "Return the mark behind the prompt."
  (process-mark (get-buffer-process (current-buffer))))

(defun smtps-session--show-prompt ()
  "Put the prompt before what is half typed."
  (let ((start (marker-position smtps-session--prompt-start)))
    (smtps-session--quietly
      (save-excursion
        (goto-char start)
        (insert (propertize smtps-session-prompt
                            'font-lock-face 'smtps-session-prompt
                            'face 'smtps-session-prompt 'field 'prompt
                            'read-only t 'front-sticky '(read-only) 'rear-nonsticky t))
        (set-marker (smtps-session--mark) (point))))
    (set-marker smtps-session--prompt-start start))
  (setq buffer-undo-list nil))

(defun smtps-session--hide-prompt ()
  "Take the prompt away; what is half typed stays."
  (smtps-session--quietly
    (delete-region smtps-session--prompt-start (smtps-session--mark)))
  (setq buffer-undo-list nil))

(defun smtps-session--colour-prompt ()
  "Give the prompt the face for DATA, or the other."
  (let ((face (if smtps-session--data 'smtps-session-prompt-in-data 'smtps-session-prompt)))
    (with-silent-modifications
      (add-text-properties smtps-session--prompt-start (smtps-session--mark)
                           (list 'face face 'font-lock-face face)))))

(defun smtps-session--erase-input ()
  "Erase what stands behind the prompt, and what undo knows of it."
  (smtps-session--quietly
    (delete-region (smtps-session--mark) (point-max)))
  (setq comint-input-ring-index nil
        buffer-undo-list nil))

(defun smtps-session--give-back (entries &optional doubtful)
  "Put the lines of ENTRIES, which were not sent, before what is half typed.
Tell of those that are not put back, since they may be secrets.  If DOUBTFUL,
some may have been sent."
  (let* ((kept (smtps-session--not-secret entries))
         (lost (- (length entries) (length kept)))
         (text (mapconcat #'car kept "\n")))
    (when kept
      (let ((from-end (and (>= (point) (smtps-session--mark))
                           (- (point-max) (point)))))
        (smtps-session--quietly
          (save-excursion
            (goto-char (smtps-session--mark))
            (unless (eobp)
              (setq text (concat text "\n")))
            (insert text)))
        (when from-end
          (goto-char (- (point-max) from-end))))
      (setq buffer-undo-list nil))
    (when (> lost 0)
      (smtps-session--insert
       (format "! Not %skept: %d typed line%s of a login."
               (if doubtful "" "sent, and not ") lost (if (= lost 1) "" "s"))
       'smtps-session-refusal))))

(defun smtps-session--insert (text face &optional properties wire)
  "Insert the line TEXT with FACE and PROPERTIES above the prompt.
WIRE is nil but for a line that went over the wire: the time beside it, or nil,
and whether LF alone ended it, in a list.
What is being typed stays as it is, and can be undone as before."
  (let* ((at (marker-position smtps-session--prompt-start))
         (there (= (point) at))
         (line (apply #'propertize (concat text "\n")
                      'face face 'font-lock-face face
                      'field 'output 'read-only t 'front-sticky '(read-only)
                      'rear-nonsticky t properties)))
    (when wire
      (apply #'smtps-session-look--dress line wire))
    (smtps-session--quietly
      (save-excursion
        (goto-char at)
        (insert line)))
    (when there
      (goto-char smtps-session--prompt-start))
    (setq buffer-undo-list (smtps-session--shifted buffer-undo-list at (length line))
          smtps-session--line-count (1+ smtps-session--line-count)))
  (smtps-session--trim))

(defun smtps-session--shifted (undo at count)
  "Return the list UNDO after COUNT characters were inserted at AT.
COUNT is negative if they were deleted."
  (let ((shift (lambda (position)
                 (cond ((>= position at) (+ position count))
                       ((<= position (- at)) (- position count))
                       (t position)))))
    (if (listp undo)
        (delq 'drop
              (mapcar (lambda (entry)
                        (pcase entry
                          ((pred integerp) (funcall shift entry))
                          (`(,(and beg (pred integerp)) . ,(and end (pred integerp)))
                           (cons (funcall shift beg) (funcall shift end)))
                          (`(,(and text (pred stringp)) . ,(and position (pred integerp)))
                           (cons text (funcall shift position)))
                          ((or 'nil `(t . ,_)) entry)
                          (_ 'drop)))
                      undo))
      undo)))

(defun smtps-session--trim ()
  "Drop the oldest lines beyond `smtps-session-maximum-lines', and say so.
They go by tenths of that, since it takes time to count them."
  (let* ((keep (smtps-option 'smtps-session-maximum-lines))
         (most (+ keep (max 1 (/ keep 10)))))
    (when (> smtps-session--line-count most)
      (setq smtps-session--line-count
            (count-lines (point-min) smtps-session--prompt-start))
      (when (> smtps-session--line-count most)
        (smtps-session--drop-lines
         (- smtps-session--line-count keep))))))

(defun smtps-session--drop-lines (count)
  "Drop the first COUNT lines, and say in one how many were dropped in all.
COUNT is more than one, since the line that said so before is among them."
  (setq smtps-session--dropped (+ smtps-session--dropped count
                                  (if (> smtps-session--dropped 0) -1 0)))
  (let ((size (buffer-size))
        (note (propertize (format "- %d older lines were dropped, \
see smtps-session-maximum-lines\n"
                                  smtps-session--dropped)
                          'face 'smtps-session-info 'font-lock-face 'smtps-session-info
                          'field 'output 'read-only t 'rear-nonsticky t))
        end)
    (smtps-session--quietly
      (save-excursion
        (goto-char (point-min))
        (forward-line count)
        (setq end (point))
        (delete-region (point-min) end)
        (goto-char (point-min))
        (insert note)))
    (setq buffer-undo-list
          (smtps-session--shifted buffer-undo-list end (- (buffer-size) size))
          smtps-session--line-count (1+ (- smtps-session--line-count count)))))

(defconst smtps-session--auth-regexp
  "^[ \t]*auth[ \t]+[^ \t\n]+[ \t]+\\([^ \t\n].*\\)"
  "An AUTH command with a secret in it, the first group (RFC 4954 section 4).")

(defun smtps-session--hide (beg end _old)
  "Show what is typed from BEG to END as stars if it is not to be seen.
What stands behind the mechanism of an AUTH is not, either."
  (when (and (get-buffer-process (current-buffer))
             (>= beg (smtps-session--mark)))
    (when (eq this-command 'self-insert-command)
      (setq smtps-session--typed-at (float-time)))
    (with-silent-modifications
      (if (smtps-session--hidden-p)
          (smtps-session--star beg end)
        (save-excursion
          (save-restriction
            (save-match-data
              (smtps-session--narrow-to-lines beg end)
              (remove-text-properties (point-min) (point-max) '(display nil))
              (while (smtps-session--next-secret)
                (smtps-session--star (match-beginning 1) (match-end 1))))))))))

(defun smtps-session--narrow-to-lines (beg end)
  "Narrow to the typed lines that BEG to END is in, point before them."
  (let ((inhibit-field-text-motion t))
    (goto-char beg)
    (narrow-to-region (max (smtps-session--mark) (line-beginning-position))
                      (progn (goto-char end) (line-end-position)))
    (goto-char (point-min))))

(defun smtps-session--next-secret ()
  "Search from point for what is secret in a typed AUTH; return non-nil if found."
  (let ((case-fold-search t))
    (and (not smtps-session--data)
         (re-search-forward smtps-session--auth-regexp nil t))))

(defun smtps-session--star (beg end)
  "Show stars from BEG to END."
  (while (< beg end)
    ;; A string of its own for each, or neighbours are shown as one.
    (put-text-property beg (1+ beg) 'display (string ?*))
    (setq beg (1+ beg))))

(defun smtps-session--without-hidden (text)
  "Return TEXT, which is to be killed or copied, without what is shown as stars.
The kill ring is read by all, and by other programs, too."
  (let ((parts nil) (beg 0) (hidden nil))
    (while (< beg (length text))
      (let ((end (next-single-property-change beg 'display text (length text))))
        (if (equal (get-text-property beg 'display text) "*")
            (setq hidden t)
          (push (substring text beg end) parts))
        (setq beg end)))
    (when hidden
      (message "What is hidden was not put into the kill ring"))
    (if hidden (string-join (nreverse parts)) text)))

(defun smtps-session--secret-typed-p ()
  "Return non-nil if what stands behind the prompt is, or has, a secret."
  (or (smtps-session--hidden-p)
      (save-excursion
        (goto-char (smtps-session--mark))
        (smtps-session--next-secret))))

(defun smtps-session--old-input ()
  "Return the line that was sent and stands at point, for sending it again.
Behind the prompt return what is typed, which comint keeps while it shows
others of the history; nothing if it is hidden."
  (let ((line (get-text-property (line-beginning-position) 'smtps-session-line)))
    (cond ((comint-after-pmark-p)
           (if (smtps-session--secret-typed-p) ""
             (buffer-substring-no-properties (smtps-session--mark) (point-max))))
          ((stringp line) line)
          (line (user-error "This line held a secret, which was not kept"))
          (t (user-error "There is no line here that was sent")))))

(provide 'smtps-session)
;;; smtps-session.el ends here
